//! Real trees for tests.

use super::Sampler;
use heartbeat::verdict::sample::{Sample, SampleDepth};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that ends with the test, and its children with it.
pub(super) struct Tree(pub(super) Child);

impl Tree {
    pub(super) fn start(command: &mut Command) -> Self {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(quiet.process_group(0).spawn().unwrap())
    }

    pub(super) fn python(code: &str) -> Self {
        Self::start(Command::new("python3").args(["-c", code]))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

pub(super) fn deep_sample(sampler: &mut Sampler, root: u32) -> Sample {
    sampler.sample(root, &[], SampleDepth::Waits, crate::clock::now())
}

/// Samples until the sample is as wanted.
pub(super) fn until(root: u32, wanted: impl Fn(&Sample) -> bool) -> (Sampler, Sample) {
    let start = Instant::now();
    let mut sampler = Sampler::new();
    loop {
        let sample = deep_sample(&mut sampler, root);
        if wanted(&sample) {
            return (sampler, sample);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{sample:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
