//! A [`Target`] to the one container it names.
//!
//! In: the containers known now; for `pid:`, `/proc/PID/cgroup`. Must never: choose between two.

use std::sync::Arc;

use super::book::Book;
use super::cgroup_name::is_within;
use super::target::SHORTEST_PREFIX;
use super::{Container, Target, TargetError};
use crate::kernel;

/// How many names an ambiguous answer lists.
const NAMES_SHOWN: usize = 5;

/// The container that `target` names.
pub(super) fn find(book: &Book, target: &Target) -> Result<Arc<Container>, TargetError> {
    match target {
        Target::Id(id) => by_id(book, target, id),
        Target::Pod { namespace, pod, container } => {
            by_pod(book, target, namespace, pod, container.as_deref())
        }
        Target::Pid(pid) => {
            let path = kernel::cgroup_of(&pid.to_string());
            let path = path.map_err(|error| not_found(target, format!("no such process ({error})")))?;
            let container = book.at_or_above(&path);
            container
                .cloned()
                .ok_or_else(|| not_found(target, format!("its cgroup {path:?} is in no container")))
        }
        Target::Cgroup(path) => {
            let container = book.at_or_above(path).or_else(|| only_one_below(book, path));
            container
                .cloned()
                .ok_or_else(|| not_found(target, "no container at, above or alone below it".into()))
        }
        Target::Dir(_) => Err(not_found(target, "a plain directory is no container".into())),
    }
}

fn by_id(book: &Book, target: &Target, id: &str) -> Result<Arc<Container>, TargetError> {
    let whole: Vec<_> = book.all().filter(|container| container.id == id).collect();
    if !whole.is_empty() {
        return single(target, &whole);
    }
    if id.len() < SHORTEST_PREFIX {
        return Err(not_found(
            target,
            format!("no container has this id; the beginning of one needs {SHORTEST_PREFIX} characters"),
        ));
    }
    let begun: Vec<_> = book.all().filter(|container| container.id.starts_with(id)).collect();
    single(target, &begun)
}

fn by_pod(
    book: &Book,
    target: &Target,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
) -> Result<Arc<Container>, TargetError> {
    let of_pod = |found: &&Arc<Container>| {
        found.names.namespace.as_deref() == Some(namespace) && found.names.pod.as_deref() == Some(pod)
    };
    let mut found: Vec<_> = book.all().filter(of_pod).collect();
    match container {
        Some(name) => found.retain(|found| found.names.container.as_deref() == Some(name)),
        // A pod's sandbox has no container name and is never what is meant where there are others.
        None if found.iter().any(|found| found.names.container.is_some()) => {
            found.retain(|found| found.names.container.is_some());
        }
        None => {}
    }
    single(target, &found)
}

fn only_one_below<'a>(book: &'a Book, path: &str) -> Option<&'a Arc<Container>> {
    let mut below = book.all().filter(|container| is_within(&container.cgroup_path, path));
    below.next().filter(|_| below.next().is_none())
}

fn single(target: &Target, found: &[&Arc<Container>]) -> Result<Arc<Container>, TargetError> {
    match found {
        [] => Err(not_found(target, "no such container on this node".into())),
        [one] => Ok(Arc::clone(one)),
        several => Err(TargetError::Ambiguous {
            target: target.to_string(),
            count: several.len(),
            names: several.iter().take(NAMES_SHOWN).map(|one| one.short()).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn not_found(target: &Target, what: String) -> TargetError {
    TargetError::NotFound { target: target.to_string(), what }
}

#[cfg(test)]
mod tests {
    use super::super::book::Changes;
    use super::super::{CgroupId, Names, Process, Runtime};
    use super::*;

    fn book() -> Book {
        let mut book = Book::new(16);
        let rows = [
            (1, "aaaaaa11", "/pods/1/aaaaaa11", "web", None),
            (2, "aaaaaa22", "/pods/1/aaaaaa22", "web", Some("app")),
            (3, "bbbbbb33", "/pods/1/bbbbbb33", "web", Some("log")),
            (4, "cccccc44", "/pods/2/cccccc44", "api", Some("app")),
            (5, "web", "/demo/web", "", None),
        ];
        for (cgroup, id, path, pod, container) in rows {
            let named = !pod.is_empty();
            let container = Container {
                cgroup: CgroupId(cgroup),
                cgroup_path: path.into(),
                nested: Vec::new(),
                runtime: Runtime::Containerd,
                id: id.into(),
                names: Names {
                    namespace: named.then(|| "prod".into()),
                    pod: named.then(|| pod.into()),
                    container: container.map(str::to_owned),
                    ..Names::default()
                },
                first: Process { pid: 1, start_time: 1 },
                layer: None,
                volumes: Vec::new(),
                other_mounts: Vec::new(),
            };
            book.put(container, &mut Changes::default());
        }
        book
    }

    fn id(target: &str) -> Result<u64, String> {
        let found = find(&book(), &target.parse().unwrap());
        found.map(|container| container.cgroup.0).map_err(|error| error.to_string())
    }

    #[test]
    fn one_container_is_found_by_every_form() {
        for (target, expected) in [
            ("aaaaaa11", 1),
            ("bbbbbb", 3),
            ("web", 5),
            ("prod/api", 4),
            ("prod/web/log", 3),
            ("/pods/1/bbbbbb33", 3),
            ("/pods/1/bbbbbb33/nested", 3),
            ("/pods/2", 4),
        ] {
            assert_eq!(id(target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn two_are_named_not_chosen_between() {
        assert!(id("aaaaaa").unwrap_err().contains("2 containers"));
        // The sandbox does not count.
        let error = id("prod/web").unwrap_err();
        assert!(error.contains("prod/web/app, prod/web/log"), "{error}");
    }

    #[test]
    fn none_says_what_was_looked_for() {
        assert!(id("bbbbb").unwrap_err().contains("6 characters"));
        for target in ["zzzzzz", "prod/none", "prod/web/none", "/pods/1", "dir:/tmp", "pid:2147483647"] {
            assert!(id(target).unwrap_err().contains(target), "{target}");
        }
    }
}
