"""What is known of the lake: `keyspace` per store, `catalog` over all; `lister` asks the lake, `comparison` is sync's."""
