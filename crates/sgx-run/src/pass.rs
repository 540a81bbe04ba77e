// SPDX-License-Identifier: Apache-2.0

//! Gives a process the sockets of its processors, over the one that it was started with (`SCM_RIGHTS`, `unix(7)`).
//!
//! A program is started with three descriptors, and one started without `fork` with no others.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Most sockets: one for each processor that there can be.
const MAX: usize = 7;

/// Sends these.
///
/// # Errors
///
/// Those of the socket; `InvalidInput` for none or too many.
pub fn send(socket: impl AsFd, files: &[File]) -> io::Result<()> {
    if files.is_empty() || files.len() > MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Without a byte of content there is no message.
    let content = [IoSlice::new(&[0])];
    rustix::net::sendmsg(socket, &content, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what was sent.
///
/// # Errors
///
/// Those of the socket; `UnexpectedEof` if there are none.
pub fn receive(socket: impl AsFd) -> io::Result<Vec<File>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut content = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut content, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received.map(File::from));
        }
    }
    if files.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_passed_is_the_same() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pairs: Vec<_> = (0..MAX).map(|_| UnixStream::pair().unwrap()).collect();
        let (near, far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let far: Vec<File> = far.into_iter().map(|far| File::from(OwnedFd::from(far))).collect();
        send(&ours, &far).unwrap();
        (&ours).write_all(b"more").unwrap();
        drop(far);
        let received = receive(&theirs).unwrap();
        assert_eq!(received.len(), MAX);
        for (n, (mut near, mut far)) in near.iter().zip(&received).enumerate() {
            near.write_all(&[n as u8]).unwrap();
            let mut byte = [99];
            far.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [n as u8]);
        }
        let mut more = [0; 4];
        (&theirs).read_exact(&mut more).unwrap();
        assert_eq!(&more, b"more", "nothing else was taken");
        (&ours).write_all(b"none").unwrap();
        assert!(receive(&theirs).is_err());
        drop(ours);
        assert!(receive(&theirs).is_err(), "after three bytes");
        assert!(send(&theirs, &[]).is_err());
    }
}
