//! Tells `bench-hooks` where the object is that it measures podsweep against. There is none where podsweep's own was
//! not built here (`PODSWEEP_EBPF_OBJECT`).

fn main() {
    let peer = std::env::var("DEP_PODSWEEP_EBPF_PEER").unwrap_or_default();
    println!("cargo::rustc-env=PODSWEEP_PEER_OBJECT={peer}");
}
