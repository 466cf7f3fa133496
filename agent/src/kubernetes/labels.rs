//! Keys of labels and annotations, and names cut to what Kubernetes takes. Pure.

use sha2::{Digest, Sha256};

/// On a Sweep: its node, so that an agent can watch its own (a field selector on custom resources needs 1.31).
pub const NODE: &str = "podsweep.io/node";
/// On a Sweep: its policy.
pub const POLICY: &str = "podsweep.io/policy";
/// On a Sweep: the rollout that asked for it.
pub const ROLLOUT: &str = "podsweep.io/rollout";
/// On a Lease that is a slot; the value is [`SLOT_KIND`].
pub const SLOT: &str = "podsweep.io/slot";
/// The one kind of slot that there is.
pub const SLOT_KIND: &str = "sweeps";
/// Annotation of a namespace or a pod: `Enabled` or `Disabled`.
pub const SWEEP: &str = "podsweep.io/sweep";

/// Which program made an object: <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const PODSWEEP: &str = "podsweep";

/// Longest label value: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>.
pub const MAX_VALUE: usize = 63;
/// Hex digits of a hash that stands for what was cut off: 64 bits, so that two names of one cluster do not meet.
const HASH_DIGITS: usize = 16;

/// A name as a label's value or a part of an object's name: itself, or where it is too long its beginning and a hash
/// of the whole.
pub fn short(name: &str) -> String {
    if name.len() <= MAX_VALUE {
        return name.to_owned();
    }
    let kept = name.floor_char_boundary(MAX_VALUE - HASH_DIGITS - 1);
    format!("{}-{}", name[..kept].trim_end_matches(['-', '.', '_']), hash(name))
}

/// The first 64 bits of a text's SHA-256, in hex.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let first = digest.iter().take(size_of::<u64>()).fold(0_u64, |first, byte| first << 8 | u64::from(*byte));
    format!("{first:0HASH_DIGITS$x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_stays() {
        assert_eq!(short("node-1"), "node-1");
    }

    #[test]
    fn long_names_with_one_beginning_stay_apart() {
        let (one, other) = (format!("{}.a", "n".repeat(200)), format!("{}.b", "n".repeat(200)));
        assert_ne!(short(&one), short(&other));
        assert!(short(&one).len() <= MAX_VALUE);
    }
}
