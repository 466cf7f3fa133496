//! The inventory against this machine's kernel: real cgroups, overlayfs, and runc. Needs root (it makes cgroups and,
//! each in a mount namespace of its own, mounts), runc and busybox-static.

mod overlay_root;
mod pod_names;
mod real_runc;
mod stage;
