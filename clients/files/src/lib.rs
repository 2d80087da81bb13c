//! Files that must be whole, private, and on the disk before anything goes on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use sources::unusable;

/// The folder's or file's owner alone may use it.
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// What keeps other processes out of a folder.
pub const LOCK: &str = ".clinik-bulk.lock";
/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// A path as people are shown it: below the current folder, from there on.
#[must_use]
pub fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    let below = path.strip_prefix(&current).ok().filter(|below| below.as_os_str() != "");
    below.unwrap_or(path).display().to_string()
}

/// A path as a run writes it down: a later one goes on in another folder, and what is written down must lead back.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    if path.to_str().is_none() {
        return Err(unusable(format!(
            "{}: the name is not UTF-8: give it another one, or read a file from stdin",
            path.display()
        )));
    }
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

/// Creates a folder, and those above it, that only its owner can look into. One that exists stays as it is.
pub fn create_private_folder(path: &Path) -> Result<()> {
    let created = DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path);
    created.with_context(|| format!("create {}", path.display()))
}

/// Creates a new file that only its owner can read. Whatever has that name goes: it may be a link, or readable for others.
fn create_private(path: &Path) -> Result<File> {
    remove(path)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(path);
    opened.with_context(|| format!("create {}", path.display()))
}

/// Opens a part of a file that an earlier try has left, or begins one. What others may read, and what is no plain file, is
/// not gone on with.
pub fn open_partial(path: &Path) -> Result<File> {
    let context = || format!("create {}", path.display());
    let is_ours = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.permissions().mode() & OTHERS == 0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(context),
    };
    if !is_ours {
        remove(path)?;
    }
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(PRIVATE_FILE).open(path);
    opened.with_context(context)
}

/// While this is held, no other process works in the folder.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    is_held: bool,
}

impl FolderLock {
    /// Keeps other processes out of a folder, until the lock is dropped. Its file stays: whoever comes next locks the same
    /// one.
    pub fn take(folder: &Path) -> Result<Self> {
        let file = open_lock(&folder.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file, is_held: true }),
            Err(fs::TryLockError::Error(error)) if cannot(&error) => Ok(Self { _file: file, is_held: false }),
            Err(fs::TryLockError::WouldBlock) => bail!("another process works in {}", folder.display()),
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", folder.display())),
        }
    }

    /// Whether others are kept out. A share may know no locks: then it is for people to run one process at a time.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Takes the lock's file away, where the folder itself is to go.
    pub fn remove(folder: &Path) -> Result<()> {
        remove(&folder.join(LOCK))
    }

    /// Waits until no other process works on a file, by a lock beside it.
    pub fn wait_beside(path: &Path) -> Result<Self> {
        let file = open_lock(&path.with_added_extension("lock"))?;
        match file.lock() {
            Err(error) if cannot(&error) => Ok(Self { _file: file, is_held: false }),
            locked => {
                locked.with_context(|| format!("lock {}", path.display()))?;
                Ok(Self { _file: file, is_held: true })
            }
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path);
    opened.with_context(|| format!("create {}", path.display()))
}

/// Whether only its owner may read it.
pub fn is_private(path: &Path) -> Result<bool> {
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    Ok(metadata.permissions().mode() & OTHERS == 0)
}

/// Whether the file system of a folder can keep others out, as those of some shares cannot. It is tried: a folder that is
/// made for its owner alone is open to others there. Where nothing can be made it is taken for one that can.
#[must_use]
pub fn knows_modes(folder: &Path) -> bool {
    let probe = folder.join(format!(".clinik-bulk.modes-{}", std::process::id()));
    let knows = match DirBuilder::new().mode(PRIVATE_FOLDER).create(&probe) {
        Ok(()) => is_private(&probe).unwrap_or(true),
        Err(_) => true,
    };
    // It may never have been there.
    let _ = fs::remove_dir(&probe);
    knows
}

/// Where a file is written until it is whole.
#[must_use]
pub fn partial(path: &Path) -> PathBuf {
    path.with_added_extension("partial")
}

/// Writes a file as a whole: it has its old content or the new one, never a part.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut writer = PartialFile::create(path)?;
    writer.write_all(content).with_context(|| format!("write {}", path.display()))?;
    writer.publish()
}

/// A file that gets its name once it is whole and on the disk.
pub struct PartialFile {
    path: PathBuf,
    file: io::BufWriter<File>,
}

impl PartialFile {
    /// Begins the file; what an earlier attempt left is gone.
    pub fn create(path: &Path) -> Result<Self> {
        let file = create_private(&partial(path))?;
        Ok(Self { path: path.to_owned(), file: io::BufWriter::with_capacity(1 << 16, file) })
    }

    /// The SHA-256 of what has been written so far, in hex.
    pub fn sha256(&mut self) -> Result<String> {
        self.flush().with_context(|| format!("write {}", self.path.display()))?;
        Ok(digest(&partial(&self.path))?.0)
    }

    /// Gives the file its name.
    pub fn publish(self) -> Result<()> {
        let Self { path, file } = self;
        let context = || format!("write {}", path.display());
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(context)?;
        file.sync_all().with_context(context)?;
        publish(&path)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Renames what was written beside `path`, and makes that last.
pub fn publish(path: &Path) -> Result<()> {
    fs::rename(partial(path), path).with_context(|| format!("rename to {}", path.display()))?;
    sync_folder(path)
}

/// Makes a new name in a folder last.
pub fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if cannot(&error) => Ok(()),
        synced => synced.with_context(|| format!("sync {}", folder.display())),
    }
}

/// Whether a file system does not know an operation, as those of shares do not: EINVAL, ENOTTY, ENOTSUP, ENOSYS, ENOLCK.
fn cannot(error: &io::Error) -> bool {
    const ENOTTY: i32 = 25;
    const ENOLCK: [i32; 2] = [37, 77];
    let code = error.raw_os_error().unwrap_or(0);
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
        || code == ENOTTY
        || ENOLCK.contains(&code)
}

/// All that a folder holds, by name.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("read folder {}", folder.display());
    let entries = fs::read_dir(folder).with_context(context)?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry.with_context(context)?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("remove {}", path.display()))
}

/// The SHA-256 of a file in hex, and its bytes.
pub fn digest(path: &Path) -> Result<(String, u64)> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    digest_of(file).with_context(|| format!("read {}", path.display()))
}

/// The SHA-256 of all that there is to read, in hex, and its bytes.
pub fn digest_of(reader: impl Read) -> io::Result<(String, u64)> {
    digest_by(reader, |_| {})
}

/// The same, where somebody else looks at the bytes, too.
pub fn digest_by(mut reader: impl Read, mut look: impl FnMut(&[u8])) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((base16ct::lower::encode_string(&hash.finalize()), bytes));
        }
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        look(piece);
        bytes += read as u64;
    }
}

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a JSON file of ours.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    // The parser's own message may quote the text.
    serde_json::from_slice(&text).map_err(|_| anyhow::anyhow!("{} is not what this version writes", path.display()))
}

/// Writes a JSON file of ours as a whole.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    replace(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_share_cannot_do_is_no_failure_and_all_else_is() {
        // EINVAL, ENOTTY, ENOTSUP, ENOSYS, ENOLCK
        for code in [22, 25, 95, 38, 37] {
            assert!(cannot(&io::Error::from_raw_os_error(code)), "{code}");
        }
        // EPERM, ENOENT, EIO, EACCES, ENOSPC, EROFS
        for code in [1, 2, 5, 13, 28, 30] {
            assert!(!cannot(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }

    #[test]
    fn whether_others_are_kept_out_is_tried_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(knows_modes(folder.path()));
        assert!(entries(folder.path()).unwrap().is_empty());
        assert!(knows_modes(&folder.path().join("missing")));
    }
}
