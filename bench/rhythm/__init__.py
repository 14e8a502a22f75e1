"""How soon an end is seen, for how many looks: the learned rhythm beside others, over drawn tasks."""
