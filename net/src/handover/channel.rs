//! What two processes of one host say to each other, with open files beside: messages over a socket of the file system
//! (`unix(7)`, `SCM_RIGHTS`).

use std::{
    fs::{self, File, Permissions},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        self as sys, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
    },
    process::{PidfdFlags, geteuid, pidfd_open},
};
use tokio::{
    io::Interest,
    net::{UnixDatagram, UnixListener},
};

/// Bytes of a message at most.
pub const MESSAGE_MAX: usize = 128 * 1024;
/// Open files beside one message at most.
pub const FILES_MAX: usize = 128;
/// Conversations that wait to be begun.
const WAITING_MAX: i32 = 16;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// One end of a conversation: a socket that keeps the bounds of messages and hears when the other end is gone (`SOCK_SEQPACKET`). Of
/// the type that holds it only the readiness is used.
#[derive(Debug)]
pub struct Channel {
    socket: UnixDatagram,
    peer: Option<Peer>,
}

/// The process at the other end.
#[derive(Debug)]
struct Peer {
    pid: u32,
    /// Readable once it has ended.
    handle: OwnedFd,
}

/// Where conversations begin. Whoever may not act for this process's user does not get in.
#[derive(Debug)]
pub struct Door(UnixListener);

/// A socket's path may have 107 bytes; a folder's may have more. It is reached by the file that is open on it.
struct Place {
    folder: File,
    name: PathBuf,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "a socket's path must name a file in a folder");
        let (folder, name) = path.parent().zip(path.file_name()).ok_or_else(wrong)?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Ok(Self { folder: File::open(folder)?, name: name.into() })
    }

    fn address(&self) -> io::Result<SocketAddrUnix> {
        let folder = PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()));
        Ok(SocketAddrUnix::new(folder.join(&self.name))?)
    }
}

impl Door {
    /// Opens it at this path, in place of any that is there. Needs a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let next = path.with_extension("next");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let door = socket()?;
        sys::bind(&door, &Place::of(&next)?.address()?)?;
        fs::set_permissions(&next, Permissions::from_mode(0o600))?;
        sys::listen(&door, WAITING_MAX)?;
        // There is one at every moment.
        fs::rename(&next, path)?;
        UnixListener::from_std(door.into()).map(Self)
    }

    /// The next conversation, and who it is with: a process of this user's, or of root.
    ///
    /// # Errors
    /// The kernel's, and `PermissionDenied` for anybody else.
    pub async fn accept(&self) -> io::Result<Channel> {
        let channel = OwnedFd::from(self.0.accept().await?.0.into_std()?);
        let peer = sockopt::socket_peercred(&channel)?;
        if !peer.uid.is_root() && peer.uid != geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Channel::new(channel)
    }
}

impl Channel {
    fn new(end: OwnedFd) -> io::Result<Self> {
        let peer = sockopt::socket_peercred(&end).ok().and_then(|peer| {
            let handle = pidfd_open(peer.pid, PidfdFlags::empty()).ok()?;
            Some(Peer { pid: peer.pid.as_raw_nonzero().get().unsigned_abs(), handle })
        });
        Ok(Self { socket: UnixDatagram::from_std(end.into())?, peer })
    }

    /// The number of the process at the other end, or of the one that has opened the door; 0 if it cannot be told.
    #[must_use]
    pub fn peer(&self) -> u32 {
        self.peer.as_ref().map(|peer| peer.pid).unwrap_or_default()
    }

    /// Whether that process runs still, whether or not it says anything.
    #[must_use]
    pub fn peer_runs(&self) -> bool {
        let Some(Peer { handle, .. }) = &self.peer else { return false };
        let mut ends = [PollFd::new(handle, PollFlags::IN)];
        poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ended| ended == 0)
    }

    /// Knocks at the door at this path. Needs a runtime.
    ///
    /// # Errors
    /// The kernel's: `NotFound` or `ConnectionRefused` if nobody is there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let channel = socket()?;
        sys::connect(&channel, &Place::of(path)?.address()?)?;
        Self::new(channel)
    }

    /// Says something, and hands over these files with it.
    ///
    /// # Errors
    /// The kernel's: the other is gone, most likely.
    ///
    /// # Panics
    /// If there are more files than a message may carry.
    pub async fn say(&self, message: &[u8], files: &[OwnedFd]) -> io::Result<()> {
        let say = || {
            let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !borrowed.is_empty() {
                assert!(beside.push(SendAncillaryMessage::ScmRights(&borrowed)), "too many files for a message");
            }
            Ok(sys::sendmsg(&self.socket, &[IoSlice::new(message)], &mut beside, SendFlags::NOSIGNAL)?)
        };
        self.socket.async_io(Interest::WRITABLE, say).await.map(drop)
    }

    /// Whether the other has ended, and nothing that it has said is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let mut nothing = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match sys::recv(&self.socket, &mut nothing, flags) {
            Ok((_, read)) => read == 0,
            Err(error) => error != Errno::AGAIN,
        }
    }

    /// The next that is said, with the files that come with it; none once the other has ended.
    ///
    /// # Errors
    /// The kernel's, and `InvalidData` for what is too long or brings too many files.
    pub async fn hear(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let hear = || {
            let mut message = vec![0; MESSAGE_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut message)];
            let got = sys::recvmsg(&self.socket, parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut files = Vec::new();
            for came in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(these) = came {
                    files.extend(these);
                }
            }
            message.truncate(got.bytes);
            Ok((message, files))
        };
        let (message, files) = self.socket.async_io(Interest::READABLE, hear).await?;
        Ok((!message.is_empty()).then_some((message, files)))
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(sys::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[tokio::test]
    async fn files_are_handed_over_with_what_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        // Longer than a socket's path may be.
        let deep = folder.path().join("x".repeat(120));
        fs::create_dir(&deep).expect("a folder");
        let path = deep.join("a.sock");
        assert_eq!(Channel::connect(&path).expect_err("nobody").kind(), io::ErrorKind::NotFound);
        let door = Door::open(&path).expect("a door");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let there = Channel::connect(&path).expect("it is open");
        let here = door.accept().await.expect("it knocked");
        assert_eq!([here.peer(), there.peer()], [std::process::id(); 2]);
        assert!(there.peer_runs());
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"written here").expect("room");
        here.say(b"take this", &[file.into()]).await.expect("it listens");
        drop(here);
        let (message, files) = there.hear().await.expect("it came").expect("it came");
        assert_eq!((&message[..], files.len()), (&b"take this"[..], 1));
        let mut read = String::new();
        let mut file = File::from(files.into_iter().next().expect("one"));
        io::Seek::rewind(&mut file).expect("a file");
        file.read_to_string(&mut read).expect("a text");
        assert_eq!(read, "written here");
        assert!(there.hear().await.expect("the end").is_none());
        drop(door);
        assert_eq!(Channel::connect(&path).expect_err("nobody").kind(), io::ErrorKind::ConnectionRefused);
        Door::open(&path).expect("what is left of one before is in nobody's way");
    }
}
