"""What more instances bring and cost: real servers over one MongoDB, one Redis and one provider."""
