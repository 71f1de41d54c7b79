//! What a package installs beside a program, made of its command line: manual pages and completions.

use clap::Command;
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};

/// A hidden command of both programs, for those who package them.
#[derive(Clone, Debug, clap::Args)]
pub struct PagesArgs {
    /// The directory
    directory: PathBuf,
}

impl PagesArgs {
    /// Writes `man/PROGRAM.1`, a page for each of its commands, and `completions/` for bash, fish and zsh below the directory.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn write(&self, program: &Command) -> io::Result<()> {
        let (manual, completions) = (self.make("man")?, self.make("completions")?);
        clap_mangen::generate_to(program.clone(), manual)?;
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let name = program.get_name().to_owned();
            clap_complete::generate_to(shell, &mut program.clone(), name, &completions)?;
        }
        Ok(())
    }

    fn make(&self, name: &str) -> io::Result<PathBuf> {
        let directory = Path::new(&self.directory).join(name);
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}
