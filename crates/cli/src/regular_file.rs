//! Regular files: opened without waiting for anybody, as one waits for the writer of a named pipe.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file to read it. Fails if it is not a regular one.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Fails if somebody else than root and the user that runs the program can write in an open file.
#[cfg(unix)]
pub fn check_writers(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    const ROOT: u32 = 0;
    let metadata = file.metadata()?;
    let (owner, mode) = (metadata.uid(), metadata.mode());
    if owner != ROOT && owner != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to another user, number {owner}: copy it as your own")));
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("others can write in it, its mode is {:04o}: chmod go-w it", mode & 0o7777))),
    }
}

/// Other systems are not asked.
#[cfg(not(unix))]
pub fn check_writers(_: &File) -> io::Result<()> {
    Ok(())
}
