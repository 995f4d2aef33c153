//! Tests that take long: whole clusters, gigabytes, millions of messages, every example of every page. The daily run,
//! `scripts/test --quick`, leaves these modules out.

mod cluster_leaders;
mod cluster_losses;
mod clusters;
mod containers;
mod domains;
mod dump_of_a_server_in_use;
mod dump_survives_the_server;
mod keys_prompts;
mod large_stream;
mod load_killed;
mod manifest_ten_million;
mod manual_examples;
mod memory_bounds;
mod overwrite_never_loses;
mod permissions;
mod replicas;
mod round_trip;
mod rsyncable;
mod sizes;
mod stalls;
