//! The storm: makes what the plan says, counts what the kernel says was made, holds some of it, and stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::plan::{IMAGE_FILES, Plan, image_file};
use super::said::{Created, Said, Trickled, now};

/// Every so many bulk files one has content: the storm is one of inodes, not of the disk's bandwidth.
const WITH_CONTENT_EVERY: u32 = 16;
const CONTENT: [u8; 512] = [b'x'; 512];
const TICK: Duration = Duration::from_millis(50);
const TOUCH_EVERY: Duration = Duration::from_secs(1);

/// Makes the storm, then keeps holding and touching its files until it is killed.
pub fn storm(plan: Plan) -> io::Result<()> {
    Said::StormBegan { at: now() }.tell()?;
    let mut storm = Storm::new(plan);
    storm.make_directories()?;
    // First, so that the bulk's own time makes them old: age must not be what keeps them.
    storm.make_odd()?;
    write_to_image_files()?;
    storm.make_bulk()?;
    Said::BulkMade { at: now(), held: storm.held.clone(), touched: storm.touched.clone() }.tell()?;
    storm.trickle()?;
    Said::StormEnded { at: now(), created: storm.created }.tell()?;
    loop {
        sleep(TOUCH_EVERY);
        storm.touch()?;
    }
}

/// Copies them up: they are then in the writable layer, and still of the image.
fn write_to_image_files() -> io::Result<()> {
    for number in 0..IMAGE_FILES {
        OpenOptions::new().append(true).open(image_file(number))?.write_all(b"changed by the container\n")?;
    }
    Ok(())
}

struct Storm {
    plan: Plan,
    created: Created,
    held: Vec<String>,
    touched: Vec<String>,
    /// Never read: what they hold open is what matters.
    open: Vec<File>,
    running: Option<Child>,
}

impl Storm {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            created: Created::default(),
            held: Vec::new(),
            touched: Vec::new(),
            open: Vec::new(),
            running: None,
        }
    }

    fn make_directories(&mut self) -> io::Result<()> {
        for directory in Plan::directories() {
            self.make_directory(&directory)?;
        }
        Ok(())
    }

    fn make_bulk(&mut self) -> io::Result<()> {
        for number in 0..self.plan.bulk {
            let mut file = self.make_file(&Plan::bulk_path(number))?;
            if number % WITH_CONTENT_EVERY == 0 {
                file.write_all(&CONTENT)?;
            }
        }
        Ok(())
    }

    fn make_odd(&mut self) -> io::Result<()> {
        self.run_program()?;
        for number in 0..self.plan.odd {
            self.hold(number)?;
            self.link(number)?;
            self.make_live(number)?;
            self.make_unnamed(number)?;
        }
        self.make_symlink("/app/data", "/tmp/data-link")?;
        self.make_symlink("/app/data/heartbeat", "/app/cache/heartbeat.part")
    }

    /// Open for reading, for writing, and locked.
    fn hold(&mut self, number: u32) -> io::Result<()> {
        let [reader, writer, locked] =
            ["reader", "writer", "locked"].map(|how| format!("/tmp/held/{how}-{number}"));
        self.make_file(&reader)?;
        self.open.push(File::open(&reader)?);
        let file = self.make_file(&writer)?;
        self.open.push(file);
        self.make_file(&locked)?;
        let file = File::open(&locked)?;
        file.lock()?;
        self.open.push(file);
        self.held.extend([reader, writer, locked]);
        Ok(())
    }

    /// Mapped, with no descriptor: a program that runs.
    fn run_program(&mut self) -> io::Result<()> {
        let path = "/tmp/held/program".to_owned();
        let mut program = self.make_file(&path)?;
        program.write_all(&fs::read("/bin/busybox")?)?;
        program.set_permissions(fs::metadata("/bin/busybox")?.permissions())?;
        drop(program);
        self.running = Some(Command::new(&path).arg0("sleep").arg("1000000").spawn()?);
        self.held.push(path);
        Ok(())
    }

    /// Two names of one file, once both where a policy for /tmp looks, once with the other one outside.
    fn link(&mut self, number: u32) -> io::Result<()> {
        for other in [format!("/tmp/linked/b{number}"), format!("/srv/keep/link-{number}")] {
            let name =
                format!("/tmp/linked/a{number}{}", if other.starts_with("/srv") { "-out" } else { "" });
            self.make_file(&name)?;
            fs::hard_link(&name, &other)?;
            self.created.link += 1;
        }
        Ok(())
    }

    fn make_live(&mut self, number: u32) -> io::Result<()> {
        let path = format!("/tmp/live/l{number}");
        self.make_file(&path)?;
        self.touched.push(path);
        Ok(())
    }

    /// What a policy for scratch files would leave alone.
    fn make_unnamed(&mut self, number: u32) -> io::Result<()> {
        self.make_file(&format!("/tmp/job-{number}/job.lock"))?;
        self.make_file(&format!("/tmp/job-{number}/.keep"))?;
        self.make_file(&format!("/app/cache/entry-{number}.idx"))?;
        self.make_file(&format!("/app/data/record-{number}.part"))?;
        self.make_file(&format!("/srv/keep/invoice-{number}.tmp")).map(drop)
    }

    /// At the plan's rate: what is due by now is made now, so that a stall is caught up with.
    fn trickle(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let mut made = 0;
        let mut last_touch = start;
        while made < self.plan.trickle {
            sleep(TICK);
            let began = now();
            let due = start.elapsed().as_millis() * u128::from(self.plan.trickle_per_second) / 1000;
            let due = u32::try_from(due).unwrap_or(u32::MAX).min(self.plan.trickle);
            let paths: Vec<_> = (made..due).map(Plan::trickle_path).collect();
            for path in &paths {
                self.make_file(path)?;
            }
            made = due;
            Said::Trickled(Trickled { began, ended: now(), paths }).tell()?;
            if last_touch.elapsed() >= TOUCH_EVERY {
                last_touch = Instant::now();
                self.touch()?;
            }
        }
        Ok(())
    }

    /// New times, without opening: a touched file is to be kept for its age, not for being open.
    fn touch(&self) -> io::Result<()> {
        for path in &self.touched {
            utimensat(
                AT_FDCWD,
                Path::new(path),
                &TimeSpec::UTIME_NOW,
                &TimeSpec::UTIME_NOW,
                UtimensatFlags::NoFollowSymlink,
            )?;
        }
        Ok(())
    }

    fn make_file(&mut self, path: &str) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        self.created.create += 1;
        Ok(file)
    }

    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        fs::create_dir(path)?;
        self.created.mkdir += 1;
        Ok(())
    }

    fn make_symlink(&mut self, target: &str, path: &str) -> io::Result<()> {
        symlink(target, path)?;
        self.created.symlink += 1;
        Ok(())
    }
}
