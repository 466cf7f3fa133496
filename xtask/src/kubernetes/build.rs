//! Builds Kubernetes from its source, offline, with Debian's Go. In: the downloads. Out: one folder of programs. What
//! is finished stays in the workshop, so that an interrupted build goes on where it was. Must never leave a half-made
//! file under its own name.

use std::fs;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::downloads::Downloads;
use super::openapi;
use crate::command::{program, run, step};

/// To be raised with every change here that makes other programs of the same source.
pub(crate) const WAY: u32 = 1;

/// What is built; the rest Debian has ready.
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// What Debian has ready: where its packages have it, and its name.
const READY: [(&str, &str); 6] = [
    ("usr/bin/etcd", "etcd"),
    ("usr/bin/kubectl", "kubectl"),
    ("usr/bin/containerd", "containerd"),
    ("usr/bin/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
    ("usr/bin/ctr", "ctr"),
    ("usr/lib/cni", "cni"),
];
/// Where Debian's packages have this Go.
const GO: &str = "usr/lib/go-1.19";
/// The copy in vendor/, 1.0.1, crashes with Go 1.18 and later on the first write of a custom resource: it reads Go's own
/// structures, which have changed. Debian's is 1.0.2.
const REFLECT2: (&str, &str) =
    ("usr/share/gocode/src/github.com/modern-go/reflect2", "vendor/github.com/modern-go/reflect2");
/// What `kubectl version` shows of the server, and what clients compare. Of this source alone: see [`Downloads`].
const VERSION: [(&str, &str); 6] = [
    ("gitVersion", "v1.20.2"),
    ("gitMajor", "1"),
    ("gitMinor", "20"),
    ("gitTreeState", "clean"),
    ("gitCommit", "faecb196815e248d3ecfb03c680a4507229c2a56"),
    ("buildDate", "2021-01-13T00:00:00Z"),
];
/// The packages that hold these, each for a part of the programs.
const VERSION_PACKAGES: [&str; 2] = ["component-base/version", "client-go/pkg/version"];
/// Compilers at a time: the machine has other work.
const JOBS: &str = "2";

/// A folder in which it is built.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    folder: PathBuf,
    downloads: &'a Downloads,
}

impl<'a> Workshop<'a> {
    /// Opens it, or makes it.
    pub(crate) fn open(folder: &Path, downloads: &'a Downloads) -> Result<Self> {
        fs::create_dir_all(folder.join("bin"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), downloads })
    }

    /// Builds what is missing; the folder with all of it.
    pub(crate) fn make(&self) -> Result<PathBuf> {
        self.once("debian", |half| self.unpack_packages(half))?;
        self.once("go/src/k8s.io/kubernetes", |half| self.unpack_source(half))?;
        self.once("openapi-gen", |half| {
            self.build("k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen", half)
        })?;
        self.once("openapi", |half| self.generate_openapi(half))?;
        for (number, name) in PROGRAMS.iter().enumerate() {
            let what = format!("bin/{name}");
            let started = Instant::now();
            step(&format!("kubernetes: {name} ({} of {})", number + 1, PROGRAMS.len()));
            self.once(&what, |half| self.build(&format!("k8s.io/kubernetes/cmd/{name}"), half))?;
            step(&format!("kubernetes: {name}: {} s", started.elapsed().as_secs()));
        }
        for (from, name) in READY {
            self.once(&format!("bin/{name}"), |half| copy(&self.debian(from)?, half))?;
        }
        Ok(self.folder.join("bin"))
    }

    /// Makes a file or folder under another name, and gives it its own when it is whole. Nothing where it is there.
    fn once(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let place = self.folder.join(name);
        if place.exists() {
            return Ok(());
        }
        let half = place.with_added_extension("half");
        let _ = fs::remove_dir_all(&half).or_else(|_| fs::remove_file(&half));
        make(&half)?;
        fs::rename(&half, &place).with_context(|| format!("cannot make {}", place.display()))
    }

    fn unpack_packages(&self, half: &Path) -> Result<()> {
        for package in self.downloads.packages()? {
            run(program("dpkg-deb").arg("-x").arg(package).arg(half))?;
        }
        Ok(())
    }

    fn unpack_source(&self, half: &Path) -> Result<()> {
        fs::create_dir_all(half).with_context(|| format!("cannot make {}", half.display()))?;
        let archive = self.downloads.source()?;
        run(program("tar").arg("-xzf").arg(archive).args(["--strip-components=1", "-C"]).arg(half))?;
        let (debians, place) = REFLECT2;
        let place = half.join(place);
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        copy(&self.debian(debians)?, &place)
    }

    /// Writes the definitions into the source tree; `half` is a mark that they are whole.
    fn generate_openapi(&self, half: &Path) -> Result<()> {
        step("kubernetes: its OpenAPI definitions (a minute)");
        let packages = openapi::packages(&self.tree())?;
        let mut generate = self.tool(&self.folder.join("openapi-gen"));
        generate.args([
            "--logtostderr",
            "-p",
            "k8s.io/kubernetes/pkg/generated/openapi",
            "-O",
            "zz_generated.openapi",
        ]);
        generate.args(["-h", "hack/boilerplate/boilerplate.generatego.txt", "-i", &packages.join(","), "-r"]);
        run(generate.arg(self.folder.join("violations")))?;
        fs::write(half, "").with_context(|| format!("cannot write {}", half.display()))
    }

    fn build(&self, package: &str, half: &Path) -> Result<()> {
        let mut build = self.tool(&self.debian(GO)?.join("bin/go"));
        // Without the clouds, a third of the code.
        build.args([
            "build",
            "-p",
            JOBS,
            "-trimpath",
            "-tags",
            "providerless",
            "-ldflags",
            &linker_flags(),
            "-o",
        ]);
        run(build.arg(half).arg(package))
    }

    /// A program that finds Go and the source, asks no network, and gives way to whatever else runs.
    fn tool(&self, path: &Path) -> Command {
        let mut tool = program("chrt");
        tool.args(["-i", "0", "nice", "-n", "19"]).arg(path).current_dir(self.tree()).stdout(stderr());
        tool.env("GOROOT", self.folder.join("debian").join(GO)).env("GOPATH", self.folder.join("go"));
        tool.env("GOCACHE", self.folder.join("cache")).env("GOMAXPROCS", JOBS);
        tool.envs([("GO111MODULE", "off"), ("CGO_ENABLED", "0"), ("GOPROXY", "off"), ("GOFLAGS", "")]);
        tool.env("GOTOOLCHAIN", "local");
        tool
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("go/src/k8s.io/kubernetes")
    }

    /// A path of Debian's packages.
    fn debian(&self, path: &str) -> Result<PathBuf> {
        let found = self.folder.join("debian").join(path);
        if !found.exists() {
            bail!("no {} in Debian's packages", found.display());
        }
        Ok(found)
    }
}

fn linker_flags() -> String {
    let versions = VERSION_PACKAGES.iter().flat_map(|package| {
        VERSION.map(|(name, value)| format!(" -X k8s.io/kubernetes/vendor/k8s.io/{package}.{name}={value}"))
    });
    // Without symbols and debug information: half the size.
    std::iter::once("-s -w".to_owned()).chain(versions).collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(program("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to))
}

#[cfg(test)]
mod tests {
    use super::linker_flags;

    #[test]
    fn every_program_is_told_its_version() {
        let flags = linker_flags();
        for package in ["component-base/version", "client-go/pkg/version"] {
            let told = format!("-X k8s.io/kubernetes/vendor/k8s.io/{package}.gitVersion=v1.20.2 ");
            assert!(flags.contains(&told), "{flags}");
        }
    }
}
