//! A small file system that can be filled up. Needs root; it is taken away again on drop.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{process, world::World};

/// A mounted file system of half a megabyte.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl SmallDisk {
    /// Mounts a fresh one.
    ///
    /// # Panics
    /// If this process may not mount.
    #[must_use]
    pub fn mount(world: &World, name: &str) -> Self {
        let path = world.path(name);
        fs::create_dir(&path).expect("the world's directory is writable");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&path);
        let _ = process::run(mount, Duration::from_secs(10)).ok();
        Self { path }
    }

    /// Writes until not a byte more fits.
    ///
    /// # Panics
    /// If writing fails for another reason than a full disk.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).expect("an empty file fits");
        for chunk in [4096, 1] {
            let full = std::iter::repeat_with(|| file.write_all(&vec![b'x'; chunk])).find_map(Result::err);
            assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::StorageFull));
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("the disk was filled");
    }

    /// Every file on it but the filler, with its size.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        list(&self.path, &mut found);
        found.retain(|(path, _)| *path != self.filler());
        found.sort();
        found
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is about to be killed.
        let mut umount = Command::new("umount");
        let _ = process::run(
            {
                umount.arg("-l").arg(&self.path);
                umount
            },
            Duration::from_secs(10),
        );
    }
}

fn list(dir: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(about) if about.is_dir() => list(&path, found),
            Ok(about) => found.push((path, about.len())),
            Err(_) => {}
        }
    }
}
