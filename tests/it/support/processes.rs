//! Finds processes that are not our children, and waits for them.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The running children of a program. Each tells its parent: what a parent tells of its children is in the
/// hands of threads of its own, which come and go.
pub fn children(parent: &Child) -> impl Iterator<Item = u32> {
    children_of(parent.id())
}

/// The same by the parent's number.
pub fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let numbers = processes.filter_map(|name| name.to_str()?.parse().ok());
    numbers.filter(move |number: &u32| {
        // One that has ended meanwhile is nobody's child.
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("PPid:")).is_some_and(|id| id.trim() == parent)
    })
}

/// The end of a process, which is an event: a descriptor of it becomes readable.
pub struct End {
    process: u32,
    descriptor: OwnedFd,
}

impl End {
    pub fn of(process: u32) -> End {
        let pid = Pid::from_raw(process.try_into().unwrap()).unwrap();
        End { process, descriptor: pidfd_open(pid, PidfdFlags::empty()).unwrap() }
    }

    /// Whether it has come.
    pub fn is_over(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.process)).exists()
            || poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&Timespec::default())).unwrap()
                == 1
    }

    /// Waits until it has come.
    #[track_caller]
    pub fn wait(self) {
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ready, 1, "process {} lives on", self.process);
    }
}
