//! Names of things in a cluster, as they are written into Leases.

use std::fmt;
use std::str::FromStr;

/// Names one Sweep object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SweepKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SweepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Who holds a slot: one Sweep on one node. In the Lease's `holderIdentity` as `NODE/NAMESPACE/NAME/UID`; none of them
/// can hold a slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// The node whose agent may renew.
    pub node: String,
    /// The Sweep.
    pub sweep: SweepKey,
    /// Its uid: an object made anew under the same name is another one.
    pub uid: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.sweep, self.uid)
    }
}

/// A holder that podsweep did not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a holder; podsweep writes NODE/NAMESPACE/NAME/UID")]
pub struct NotAHolder(pub String);

impl FromStr for Holder {
    type Err = NotAHolder;

    fn from_str(text: &str) -> Result<Self, NotAHolder> {
        let parts: Vec<_> = text.split('/').collect();
        let [node, namespace, name, uid] = parts[..] else { return Err(NotAHolder(text.to_owned())) };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(NotAHolder(text.to_owned()));
        }
        let sweep = SweepKey { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(Self { node: node.to_owned(), sweep, uid: uid.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let text = "node-1/shop/cart-01abc/6a1e";
        assert_eq!(text.parse::<Holder>().unwrap().to_string(), text);
        for wrong in ["", "node-1", "a/b/c", "a/b/c/d/e", "a//c/d"] {
            assert!(wrong.parse::<Holder>().is_err(), "{wrong}");
        }
    }
}
