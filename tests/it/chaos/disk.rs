//! A Postgres of one test's own, on a disk that can be full.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::node::{free_ports, services};

/// A small file system in memory. It is gone with this value.
pub struct Disk(TempDir);

impl Disk {
    /// `None` where nothing can be mounted: that takes root, and a machine that lets it.
    pub fn of_mebibytes(size: u32) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={size}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Disk(folder))
    }

    /// Not a byte is left.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        let block = [0; 4096];
        loop {
            match ballast.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// There is room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        // At once, whoever still has a file open.
        let unmounted = unmount.arg("--lazy").arg(self.0.path()).status();
        if !std::thread::panicking() {
            assert!(unmounted.unwrap().success());
        }
    }
}

/// A Postgres on a disk of its own, started by the same script as the one that tests share.
pub struct Server {
    base: u16,
    /// Where its role may create databases.
    pub url: String,
    /// Where its data is.
    pub disk: Disk,
}

impl Server {
    /// Takes some seconds.
    pub async fn on(disk: Disk) -> Server {
        tokio::task::spawn_blocking(|| {
            let mut server = Server { base: free_ports(), url: String::new(), disk };
            server.run(&["up"]);
            let environment = server.run(&["env"]);
            let url = environment.lines().find_map(|line| line.strip_prefix("export DATABASE_URL=")).unwrap();
            server.url = url.replace('\\', "");
            server
        })
        .await
        .unwrap()
    }

    /// As somebody does who has made room. One that has come back by itself is left alone.
    pub async fn start_again(&self) {
        let (base, folder) = (self.base, self.disk.0.path().to_owned());
        tokio::task::spawn_blocking(move || services(&["up"], &folder, base, "AMQP_URL")).await.unwrap();
    }

    fn run(&self, arguments: &[&str]) -> String {
        services(arguments, self.disk.0.path(), self.base, "AMQP_URL")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let down = std::panic::AssertUnwindSafe(|| self.run(&["down"]));
        if !std::thread::panicking() {
            down();
            return;
        }
        // A second panic would hide the first.
        let _ = std::panic::catch_unwind(down);
    }
}
