//! A real Kubernetes for the tests: a control plane by itself, or a whole cluster of one node.
//!
//! | module | what comes out of it |
//! |---|---|
//! | `programs` | where kube-apiserver and the others are: `cargo xtask setup --level cluster` puts them there |
//! | `enclosure` | namespaces whose processes all end with the test, however it ends |
//! | `daemon` | one program of the cluster: its log, paused, continued, killed |
//! | `authority` | certificates; `kubeconfig` those, or a token, as a file that every client reads |
//! | `control_plane` | etcd and kube-apiserver; `audit` what was written through it, `kubectl` commands to it |
//! | `installed` | podsweep's objects in a control plane, and its coordinators |
//! | `slot_history` | from the audit: who held which slot when, and whether the cap was kept |
//! | `test_agent` | agents without a node, many in one process, with podsweep's own code for slots |
//! | `told_pod` | a container, and a pod that the API is told of without a kubelet |
//! | `prometheus` | one that scrapes a number of the test's |
//! | `proxy` | a way to the API server that can be slowed down, stalled and cut |
//! | `node` | all that and controller-manager, scheduler, `containerd`, `kubelet`; pods, and commands on the node |
//! | `deployed` | podsweep itself on that node, as deploy/ has it |
//! | `image_archive` | images, made without a registry |
//! | `node_cgroup`, `node_runc` | the node's cgroups, and its containers' on a machine with controllers on cgroup v1 |
//!
//! Nothing of it is mocked, nothing listens outside loopback or a network namespace, nothing stays: processes end with
//! their enclosure, mounts with its namespace, cgroups and folders when they are dropped.
//!
//! While a test sleeps, a person can look: its folder in /var/tmp has `admin.kubeconfig`.

pub mod audit;
pub mod authority;
mod containerd;
pub mod control_plane;
pub mod daemon;
pub mod deployed;
pub mod enclosure;
pub mod image_archive;
pub mod installed;
pub mod kubeconfig;
pub mod kubectl;
mod kubelet;
pub mod node;
mod node_cgroup;
pub mod node_runc;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod slot_history;
pub mod test_agent;
pub mod told_pod;
