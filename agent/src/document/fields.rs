//! Where each field of a YAML document stands. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column, from 1, of each field by its path (`spec.junk[0].olderThan`; empty: the document itself).
#[derive(Debug, Clone, Default)]
pub struct Fields {
    values: BTreeMap<String, (u64, u64)>,
    keys: BTreeMap<String, (u64, u64)>,
}

impl Fields {
    /// Reads only structure; a document that is not even YAML has no fields.
    pub(super) fn of(text: &str) -> Self {
        let mut options = super::strict();
        // Here every scalar is fine: its type is the reader's concern.
        options.non_finite_float_policy = serde_saphyr::NonFiniteFloatPolicy::AsString;
        options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::FirstWins;
        let mut fields = Self::default();
        if let Ok(root) = serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options) {
            fields.add(String::new(), &root);
        }
        fields
    }

    fn add(&mut self, path: String, node: &Spanned<Node>) {
        match &node.value {
            Node::Map(entries) => {
                for (key, value) in entries {
                    let child =
                        if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                    self.keys.insert(child.clone(), place(key.referenced));
                    self.add(child, value);
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{path}[{index}]"), item);
                }
            }
            Node::Scalar => {}
        }
        self.values.insert(path, place(node.referenced));
    }

    /// Line and column of a field's value; of the nearest field above it where the file does not write it.
    pub fn locate(&self, field: &str) -> (u64, u64) {
        let mut path = field;
        loop {
            if let Some(found) = self.values.get(path) {
                return *found;
            }
            if path.is_empty() {
                return (1, 1);
            }
            path = parent(path);
        }
    }

    /// Line and column of a field's name.
    pub fn locate_key(&self, field: &str) -> (u64, u64) {
        self.keys.get(field).copied().unwrap_or_else(|| self.locate(field))
    }

    /// The mapping that has a key at this place, or is the value that begins there: what lacks a field.
    pub(super) fn holder_at(&self, line: u64, column: u64) -> String {
        let key = self.keys.iter().find(|(_, found)| **found == (line, column));
        key.map_or_else(|| self.at(line, column), |(path, _)| parent(path).to_owned())
    }

    /// The last field of this name that begins before a place.
    pub(super) fn earlier(&self, name: &str, line: u64, column: u64) -> Option<String> {
        let last_name = |path: &str| {
            path.strip_prefix(parent(path)).map(|rest| rest.trim_start_matches('.')) == Some(name)
        };
        let before = self.keys.iter().filter(|(path, found)| **found < (line, column) && last_name(path));
        before.max_by_key(|(_, found)| **found).map(|(path, _)| path.clone())
    }

    /// The innermost field whose name or value begins at this place, or else the last that begins before it.
    pub(super) fn at(&self, line: u64, column: u64) -> String {
        let place = (line, column);
        let exact = self.keys.iter().chain(&self.values).filter(|(_, found)| **found == place);
        if let Some((path, _)) = exact.max_by_key(|(path, _)| path.len()) {
            return path.clone();
        }
        let before = self.values.iter().filter(|(_, found)| **found < place);
        before
            .max_by_key(|(path, found)| (**found, path.len()))
            .map(|(path, _)| path.clone())
            .unwrap_or_default()
    }
}

/// `a.b` of `a.b.c`, `a` of `a[0]`.
fn parent(path: &str) -> &str {
    &path[..path.rfind(['.', '[']).unwrap_or(0)]
}

fn place(location: Location) -> (u64, u64) {
    (location.line(), location.column())
}

/// The structure of a document without its scalars.
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any YAML value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::List(all))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  - c: [x, y]\n    d: 10m\n  - e: {f: 2}\n";

    #[test]
    fn every_value_has_its_place() {
        let fields = Fields::of(TEXT);
        assert_eq!(fields.locate("a"), (1, 4));
        assert_eq!(fields.locate("b[0].c[1]"), (3, 12));
        assert_eq!(fields.locate("b[0].d"), (4, 8));
        assert_eq!(fields.locate("b[1].e.f"), (5, 12));
        assert_eq!(fields.locate_key("b[0].d"), (4, 5));
    }

    #[test]
    fn what_is_not_written_is_placed_at_what_holds_it() {
        let fields = Fields::of(TEXT);
        assert_eq!(fields.locate("b[1].e.missing.deeper[3]"), fields.locate("b[1].e"));
        assert_eq!(fields.locate("nothing"), (1, 1));
    }

    #[test]
    fn a_place_finds_its_field() {
        let fields = Fields::of(TEXT);
        assert_eq!(fields.at(4, 8), "b[0].d");
        assert_eq!(fields.at(4, 5), "b[0].d");
        assert_eq!(fields.at(3, 12), "b[0].c[1]");
    }
}
