//! The only generated file that Kubernetes' release lacks: the OpenAPI definitions, which server-side apply and
//! kubectl's validation need. In: the source tree. Out: the packages to generate them from. Must never run anything.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Where packages of Kubernetes itself are.
const ROOTS: [&str; 4] = ["pkg", "cmd", "plugin", "staging/src"];
/// What a package says that has definitions, in a comment of its own line.
const MARK: &str = "+k8s:openapi-gen=";
/// Examples, whose definitions no server has.
const LEFT_OUT: [&str; 2] = ["code-generator", "sample-apiserver"];

/// Import paths of the packages below `tree` that have definitions.
pub(crate) fn packages(tree: &Path) -> Result<Vec<String>> {
    let mut folders = BTreeSet::new();
    for root in ROOTS {
        collect(&tree.join(root), &mut folders)
            .with_context(|| format!("cannot read {root} of Kubernetes"))?;
    }
    let relative = folders.iter().filter_map(|folder| folder.strip_prefix(tree).ok());
    let packages: Vec<_> = relative.filter_map(import_path).collect();
    if packages.is_empty() {
        bail!("{}: no package has OpenAPI definitions", tree.display());
    }
    Ok(packages)
}

fn import_path(folder: &Path) -> Option<String> {
    if folder.components().any(|part| LEFT_OUT.iter().any(|name| part.as_os_str() == *name)) {
        return None;
    }
    // In a GOPATH, what is staged is found through vendor's links.
    let place = folder
        .strip_prefix("staging/src")
        .map_or_else(|_| folder.into(), |staged| Path::new("vendor").join(staged));
    Some(format!("k8s.io/kubernetes/{}", place.display()))
}

fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            collect(&path, found)?;
        } else if kind.is_file()
            && path.extension().is_some_and(|extension| extension == "go")
            && is_marked(&path)?
        {
            found.insert(folder.to_owned());
        }
    }
    Ok(())
}

fn is_marked(file: &Path) -> io::Result<bool> {
    for line in BufReader::new(fs::File::open(file)?).split(b'\n') {
        let line = line?;
        let comment = line.strip_prefix(b"//").map(<[u8]>::trim_ascii_start);
        if comment.is_some_and(|comment| comment.starts_with(MARK.as_bytes())) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_say_so_are_found_and_examples_are_not() {
        let tree = std::env::temp_dir().join(format!("podsweep-openapi-{}", std::process::id()));
        let marked = "// +k8s:openapi-gen=true\npackage v1\n";
        for (file, text) in [
            ("pkg/apis/doc.go", marked),
            ("pkg/util/doc.go", "package util // +k8s:openapi-gen=true\n"),
            ("cmd/doc.txt", marked),
            ("plugin/doc.go", "package plugin\n"),
            ("staging/src/k8s.io/api/core/v1/doc.go", "//  +k8s:openapi-gen=true\n"),
            ("staging/src/k8s.io/sample-apiserver/pkg/doc.go", marked),
        ] {
            let file = tree.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let found = packages(&tree).unwrap();
        assert_eq!(found, ["k8s.io/kubernetes/pkg/apis", "k8s.io/kubernetes/vendor/k8s.io/api/core/v1"]);
        fs::remove_dir_all(tree).unwrap();
    }
}
