"""What so many browsers, tasks and changes take, by the costs that were measured."""
