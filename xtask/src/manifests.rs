//! deploy/'s rendered files: all manifests of a kustomization in one, for `kubectl apply -f`. Nobody needs kustomize.
//!
//! In: kustomizations that only list resources and components. Out: the files' own text one after the other, so that
//! the reasons beside rights and capabilities come along. Must never: guess what a kustomization says besides.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command::{root, step};

/// A folder of deploy/ with a kustomization, the file it is rendered into, and for whom that is.
const RENDERED: [(&str, &str, &str); 2] = [
    ("current", "podsweep.yaml", "servers from 1.30 on"),
    ("base", "podsweep-older.yaml", "servers from 1.20 to 1.29"),
];

/// Folders within folders: deploy/ has two levels.
const MAX_DEPTH: usize = 4;

/// What of kustomize is used. Anything else is refused: it would have to be carried out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
}

/// Writes each rendered file. `check`: write nothing, fail where one is out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    step(if check { "rendered manifests" } else { "render the manifests" });
    let deploy = root().join("deploy");
    for (folder, file, whom) in RENDERED {
        let path = deploy.join(file);
        let made = render(&deploy, folder, whom)?;
        if !check {
            fs::write(&path, made).with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read_to_string(&path).unwrap_or_default() != made {
            bail!("{} is out of date; run `cargo xtask gen`", path.display());
        }
    }
    Ok(())
}

fn render(deploy: &Path, folder: &str, whom: &str) -> Result<String> {
    let mut files = Vec::new();
    collect(&deploy.join(folder), MAX_DEPTH, &mut files)?;
    let mut text = format!(
        "# podsweep, for {whom}. All of deploy/{folder} in one file; to write it anew: `cargo xtask gen`.\n"
    );
    for file in files {
        let manifest =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(deploy).unwrap_or(&file).display();
        write!(text, "---\n# deploy/{name}\n{}\n", manifest.trim_end())?;
    }
    Ok(text)
}

/// The files of a kustomization, in its order: resources, then what its components add.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = folder.join("kustomization.yaml");
    if depth == 0 {
        bail!("{} is too deep in folders of folders", path.display());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let kustomization: Kustomization =
        serde_saphyr::from_str(&text).with_context(|| format!("cannot render {}", path.display()))?;
    let Kustomization { api_version, kind, resources, components } = kustomization;
    if !["Kustomization", "Component"].contains(&&*kind)
        || !api_version.starts_with("kustomize.config.k8s.io/")
    {
        bail!("{}: {kind} of {api_version} is no kustomization", path.display());
    }
    for name in resources.iter().chain(&components) {
        let found = folder.join(name);
        let found =
            found.canonicalize().with_context(|| format!("{} names {}", path.display(), found.display()))?;
        if found.is_dir() {
            collect(&found, depth - 1, files)?;
        } else if !files.contains(&found) {
            files.push(found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_files_are_up_to_date() {
        super::run(true).unwrap();
    }

    #[test]
    fn resources_come_before_components_and_text_stays() {
        let deploy = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = deploy.path().canonicalize().unwrap().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
        write(
            "top/kustomization.yaml",
            &format!("{head}components: [../more]\nresources: [../base, own.yaml]\n"),
        );
        write("top/own.yaml", "own: 1\n");
        write("base/kustomization.yaml", &format!("{head}resources: [a.yaml]\n"));
        write("base/a.yaml", "a: 1 # why\n---\nb: 2\n");
        write(
            "more/kustomization.yaml",
            &format!("{}resources: [c.yaml]\n", head.replace("Kustomization", "Component")),
        );
        write("more/c.yaml", "c: 3\n");
        let made = render(&deploy.path().canonicalize().unwrap(), "top", "all").unwrap();
        let documents: Vec<_> = made.split("---\n").skip(1).collect();
        let expected = [
            "# deploy/base/a.yaml\na: 1 # why\n",
            "b: 2\n",
            "# deploy/top/own.yaml\nown: 1\n",
            "# deploy/more/c.yaml\nc: 3\n",
        ];
        assert_eq!(documents, expected);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let deploy = tempfile::tempdir().unwrap();
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamePrefix: x-\n";
        fs::write(deploy.path().join("kustomization.yaml"), text).unwrap();
        let error = collect(deploy.path(), MAX_DEPTH, &mut Vec::new()).unwrap_err();
        assert!(format!("{error:#}").contains("namePrefix"), "{error:#}");
    }
}
