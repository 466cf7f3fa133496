//! What stays and what goes, file by file, on a real overlayfs through the root of a real process.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};

use super::super::audit::Fate;
use super::super::door::{self, Claim, Deed, OpenTest, Rights};
use super::super::held::Held;
use super::super::identity::look;
use super::super::test_bed::{Pod, in_an_hour, list, rule};
use super::super::view::View;
use super::{fate, plan_of, work, work_all};
use crate::inventory::{Volume, VolumeKind};
use crate::kernel::Cgroups;
use crate::policy::{Action, JunkRule, Mode};
use crate::scan::Kept;

fn write(pod: &Pod, path: &str) {
    fs::write(pod.inside(path), "junk").unwrap();
}

fn junk() -> JunkRule {
    rule("scratch", "/tmp/**")
}

fn plain_pod() -> Pod {
    Pod::start(|_| {}, |_| {})
}

#[test]
fn idle_files_go_and_leave_no_whiteout() {
    let pod = plain_pod();
    for number in 0..50 {
        write(&pod, &format!("/tmp/{number}"));
    }
    symlink("/bin/busybox", pod.inside("/tmp/link")).unwrap();
    let fates = work_all(&pod, junk());
    assert_eq!(fates.len(), 51);
    assert!(fates.iter().all(|(_, fate)| *fate == Fate::Removed), "{fates:?}");
    assert_eq!(fs::read_dir(pod.upper().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(pod.inside("/tmp")).unwrap().count(), 0);
    assert!(pod.inside("/bin/busybox").exists());
}

#[test]
fn open_mapped_and_locked_files_stay() {
    let pod = plain_pod();
    for name in ["read", "written", "locked", "idle"] {
        write(&pod, &format!("/tmp/{name}"));
    }
    let _reader = File::open(pod.inside("/tmp/read")).unwrap();
    let _writer = File::options().append(true).open(pod.inside("/tmp/written")).unwrap();
    let locked = File::open(pod.inside("/tmp/locked")).unwrap();
    locked.lock().unwrap();
    // A running program is mapped and has no descriptor of its own file.
    fs::copy("/bin/busybox", pod.inside("/tmp/mapped")).unwrap();
    let mut program = Command::new(pod.inside("/tmp/mapped")).arg0("sleep").arg("600").spawn().unwrap();
    let fates = work_all(&pod, junk());
    program.kill().unwrap();
    program.wait().unwrap();
    for name in ["read", "written", "locked", "mapped"] {
        assert_eq!(fate(&fates, &format!("tmp/{name}")), Fate::Kept(Kept::Open), "{name}");
    }
    assert_eq!(fate(&fates, "tmp/idle"), Fate::Removed);
    assert_eq!(fate(&work_all(&pod, junk()), "tmp/mapped"), Fate::Removed);
}

#[test]
fn what_changed_since_the_scan_stays() {
    let pod = plain_pod();
    for name in ["rewritten", "replaced", "new", "linked", "chmod", "gone", "same"] {
        write(&pod, &format!("/tmp/{name}"));
    }
    let candidates = list(&pod.upper(), Action::Delete);
    fs::write(pod.inside("/tmp/rewritten"), "data").unwrap();
    fs::rename(pod.inside("/tmp/new"), pod.inside("/tmp/replaced")).unwrap();
    fs::hard_link(pod.inside("/tmp/linked"), pod.inside("/tmp/other-name")).unwrap();
    Command::new("chmod").arg("600").arg(pod.inside("/tmp/chmod")).status().unwrap();
    fs::remove_file(pod.inside("/tmp/gone")).unwrap();
    let (_, fates) = work(plan_of(pod.container(), vec![junk()], Mode::Enforce), &candidates);
    for name in ["rewritten", "replaced", "chmod"] {
        assert_eq!(fate(&fates, &format!("tmp/{name}")), Fate::Kept(Kept::Changed), "{name}");
    }
    assert_eq!(fate(&fates, "tmp/linked"), Fate::Kept(Kept::HardLinked));
    assert_eq!(fate(&fates, "tmp/gone"), Fate::Gone);
    assert_eq!(fate(&fates, "tmp/new"), Fate::Gone);
    assert_eq!(fate(&fates, "tmp/same"), Fate::Removed);
}

#[test]
fn hard_linked_before_the_scan_stays() {
    let pod = plain_pod();
    write(&pod, "/tmp/a");
    fs::hard_link(pod.inside("/tmp/a"), pod.inside("/tmp/b")).unwrap();
    assert!(work_all(&pod, junk()).iter().all(|(_, fate)| *fate == Fate::Kept(Kept::HardLinked)));
}

#[test]
fn a_directory_swapped_for_a_symlink_leads_nowhere() {
    let pod = plain_pod();
    fs::create_dir(pod.inside("/tmp/dir")).unwrap();
    fs::create_dir(pod.inside("/tmp/precious")).unwrap();
    write(&pod, "/tmp/dir/a");
    write(&pod, "/tmp/precious/a");
    let candidates: Vec<_> =
        list(&pod.upper(), Action::Delete).into_iter().filter(|one| one.path == b"tmp/dir/a").collect();
    fs::rename(pod.inside("/tmp/dir"), pod.inside("/tmp/moved")).unwrap();
    symlink("precious", pod.inside("/tmp/dir")).unwrap();
    let (_, fates) = work(plan_of(pod.container(), vec![junk()], Mode::Enforce), &candidates);
    assert_eq!(fate(&fates, "tmp/dir/a"), Fate::Kept(Kept::Changed));
    assert!(pod.inside("/tmp/precious/a").exists() && pod.inside("/tmp/moved/a").exists());
}

#[test]
fn files_of_the_image_stay() {
    let image = |lower: &Path| {
        fs::write(lower.join("tmp/shipped"), "image").unwrap();
        fs::write(lower.join("tmp/renamed-from"), "image").unwrap();
    };
    let pod = Pod::start(image, |_| {});
    fs::write(pod.inside("/tmp/shipped"), "changed by the container").unwrap();
    fs::rename(pod.inside("/tmp/renamed-from"), pod.inside("/tmp/renamed-to")).unwrap();
    let fates = work_all(&pod, junk());
    assert_eq!(fate(&fates, "tmp/shipped"), Fate::Kept(Kept::LowerLayer));
    // The whiteout that the rename left is a character device.
    assert_eq!(fate(&fates, "tmp/renamed-from"), Fate::Kept(Kept::Type));
    assert_eq!(fate(&fates, "tmp/renamed-to"), Fate::Kept(Kept::ViewDiffers));
    assert_eq!(fs::read_to_string(pod.inside("/tmp/shipped")).unwrap(), "changed by the container");
}

fn bind(from: &Path, onto: &Path) {
    let none: Option<&str> = None;
    mount(Some(from), onto, none, MsFlags::MS_BIND, none).unwrap();
}

#[test]
fn mounts_inside_are_not_entered_and_mount_points_not_unmounted() {
    let mounts = |root: &Path| {
        fs::create_dir_all(root.join("tmp/covered")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        for path in ["tmp/covered/a", "elsewhere/a", "tmp/mountpoint", "elsewhere/file"] {
            fs::write(root.join(path), path).unwrap();
        }
        bind(&root.join("elsewhere"), &root.join("tmp/covered"));
        bind(&root.join("elsewhere/file"), &root.join("tmp/mountpoint"));
    };
    let pod = Pod::start(|_| {}, mounts);
    let candidates: Vec<_> =
        list(&pod.upper(), Action::Delete).into_iter().filter(|one| one.path.starts_with(b"tmp/")).collect();
    let (_, fates) = work(plan_of(pod.container(), vec![junk()], Mode::Enforce), &candidates);
    assert_eq!(fate(&fates, "tmp/covered/a"), Fate::Kept(Kept::MountInside));
    assert_eq!(fate(&fates, "tmp/mountpoint"), Fate::Kept(Kept::MountInside));
    assert_eq!(fs::read_to_string(pod.inside("/tmp/mountpoint")).unwrap(), "elsewhere/file");
    assert_eq!(fs::read_to_string(pod.inside("/tmp/covered/a")).unwrap(), "elsewhere/a");
}

#[test]
fn a_directory_that_is_a_mount_point_is_not_removed_though_it_is_empty_below() {
    let mounts = |root: &Path| {
        fs::create_dir_all(root.join("tmp/covered")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        bind(&root.join("elsewhere"), &root.join("tmp/covered"));
    };
    let pod = Pod::start(|_| {}, mounts);
    let plan = plan_of(pod.container(), vec![junk()], Mode::Enforce);
    let held = Held::take(plan.container.as_ref().unwrap(), &Cgroups::find().unwrap()).unwrap();
    let view = View::of_container(&plan.roots, plan.container.as_ref().unwrap(), &held).unwrap();
    let parent = view.parent(0, b"tmp").unwrap();
    let identity = look(parent.upper.as_fd(), b"covered").unwrap().identity;
    let claim = Claim {
        name: b"covered",
        identity: &identity,
        deed: Deed::RemoveDirectory,
        open_test: OpenTest::Walked(Some(identity)),
        now: in_an_hour(),
    };
    assert_eq!(door::pass(&parent, &claim, &Rights::Remove), Fate::Kept(Kept::MountInside));
    assert_ne!(pod.mount_id("/tmp/covered"), pod.mount_id("/tmp"));
}

#[test]
fn emptied_directories_go_level_by_level_and_the_prefix_stays() {
    let pod = plain_pod();
    fs::create_dir_all(pod.inside("/tmp/d/e")).unwrap();
    fs::create_dir_all(pod.inside("/tmp/was-empty-before")).unwrap();
    write(&pod, "/tmp/d/e/a");
    let mut rule = junk();
    rule.empty_directories = true;
    assert_eq!(fate(&work_all(&pod, rule), "tmp/d/e/a"), Fate::Removed);
    assert!(!pod.inside("/tmp/d").exists());
    assert!(pod.inside("/tmp/was-empty-before").exists() && pod.inside("/tmp").exists());
}

#[test]
fn an_emptied_directory_stays_while_a_process_works_in_it() {
    let pod = plain_pod();
    for name in ["used", "idle"] {
        fs::create_dir(pod.inside(&format!("/tmp/{name}"))).unwrap();
        write(&pod, &format!("/tmp/{name}/a"));
    }
    let mut worker = Command::new("sleep").arg("600").current_dir(pod.inside("/tmp/used")).spawn().unwrap();
    let mut rule = junk();
    rule.empty_directories = true;
    work_all(&pod, rule);
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(pod.inside("/tmp/used").exists() && !pod.inside("/tmp/idle").exists());
}

#[test]
fn a_directory_of_the_image_stays_when_it_is_empty() {
    let pod = Pod::start(|lower| fs::create_dir(lower.join("tmp/shipped")).unwrap(), |_| {});
    write(&pod, "/tmp/shipped/a");
    let mut rule = junk();
    rule.empty_directories = true;
    assert_eq!(fate(&work_all(&pod, rule), "tmp/shipped/a"), Fate::Removed);
    assert!(pod.inside("/tmp/shipped").exists());
}

#[test]
fn pipes_and_sockets_go_only_when_nobody_has_them() {
    let pod = plain_pod();
    for name in ["idle.fifo", "open.fifo"] {
        nix::unistd::mkfifo(&pod.inside(&format!("/tmp/{name}")), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    // Opened read-write a fifo waits for nobody.
    let fifo = File::options().read(true).write(true).open(pod.inside("/tmp/open.fifo")).unwrap();
    let mut holder = Command::new("sleep").arg("600").stdin(Stdio::from(fifo)).spawn().unwrap();
    let bound = UnixListener::bind(pod.inside("/tmp/podsweep-bound.sock")).unwrap();
    drop(UnixListener::bind(pod.inside("/tmp/podsweep-left.sock")).unwrap());
    let fates = work_all(&pod, junk());
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(bound);
    assert_eq!(fate(&fates, "tmp/idle.fifo"), Fate::Removed);
    assert_eq!(fate(&fates, "tmp/open.fifo"), Fate::Kept(Kept::Open));
    assert_eq!(fate(&fates, "tmp/podsweep-bound.sock"), Fate::Kept(Kept::Open));
    assert_eq!(fate(&fates, "tmp/podsweep-left.sock"), Fate::Removed);
}

#[test]
fn truncation_cuts_an_open_file_and_spares_mapped_locked_and_linked_ones() {
    let pod = plain_pod();
    for name in ["log", "locked", "linked", "empty"] {
        write(&pod, &format!("/tmp/{name}"));
    }
    fs::write(pod.inside("/tmp/empty"), "").unwrap();
    fs::hard_link(pod.inside("/tmp/linked"), pod.inside("/tmp/link")).unwrap();
    fs::copy("/bin/busybox", pod.inside("/tmp/mapped")).unwrap();
    let _log = File::options().append(true).open(pod.inside("/tmp/log")).unwrap();
    let locked = File::open(pod.inside("/tmp/locked")).unwrap();
    locked.lock().unwrap();
    let mut program = Command::new(pod.inside("/tmp/mapped")).arg0("sleep").arg("600").spawn().unwrap();
    let fates = work_all(&pod, JunkRule { action: Action::Truncate, ..junk() });
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(fate(&fates, "tmp/log"), Fate::Truncated);
    assert_eq!(fs::metadata(pod.inside("/tmp/log")).unwrap().len(), 0);
    assert_eq!(fate(&fates, "tmp/locked"), Fate::Kept(Kept::Open));
    assert_eq!(fate(&fates, "tmp/mapped"), Fate::Kept(Kept::Open));
    assert_eq!(fate(&fates, "tmp/linked"), Fate::Kept(Kept::HardLinked));
    assert_eq!(fate(&fates, "tmp/empty"), Fate::Gone);
}

#[test]
fn a_volume_is_swept_through_its_own_mount() {
    let mounts = |root: &Path| {
        let host = root.parent().unwrap().join("volume");
        fs::create_dir(&host).unwrap();
        fs::create_dir(root.join("cache")).unwrap();
        bind(&host, &root.join("cache"));
        fs::write(root.join("cache/a"), "x").unwrap();
        fs::write(root.join("cache/open"), "x").unwrap();
    };
    let pod = Pod::start(|_| {}, mounts);
    let mut container = pod.container();
    let host_path = pod.upper().with_file_name("volume");
    let volume = Volume {
        kind: VolumeKind::EmptyDir,
        mount_point: "/cache".into(),
        host_path: host_path.clone(),
        mount_id: pod.mount_id("/cache"),
    };
    container.volumes.push(volume.clone());
    let rule = JunkRule { volumes: vec![VolumeKind::EmptyDir], ..rule("cache", "/cache/**") };
    let _open = File::open(pod.inside("/cache/open")).unwrap();
    let plan = plan_of(container.clone(), vec![rule.clone()], Mode::Enforce);
    let (worked, fates) = work(plan, &list(&host_path, Action::Delete));
    assert_eq!((worked.end, fate(&fates, "a")), (None, Fate::Removed));
    assert_eq!(fate(&fates, "open"), Fate::Kept(Kept::Open));

    container.volumes = vec![Volume { mount_id: volume.mount_id + 1, ..volume }];
    let plan = plan_of(container, vec![rule], Mode::Enforce);
    let (worked, _) = work(plan, &list(&host_path, Action::Delete));
    assert_eq!(worked.end.unwrap().reason(), "ViewDiffers");
}
