//! Steps that reach a file in other ways than by a call with its path.

use std::{
    ffi::CString,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::uring;

/// A descriptor on its way through a socket: sent before the container was entered, received whenever the step says.
pub(crate) struct Gift(OwnedFd);

impl Gift {
    /// Sends `file`.
    pub(crate) fn send(file: OwnedFd) -> Result<Self> {
        let (from, to) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        ensure!(control.push(SendAncillaryMessage::ScmRights(&files)), "no space for a descriptor");
        sendmsg(from, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
        Ok(Self(to))
    }

    fn receive(&self) -> Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&self.0, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::empty())?;
        let received = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files.count()),
            _ => None,
        });
        ensure!(received.sum::<usize>() == 1, "received no descriptor");
        Ok(0)
    }
}

/// Performs the step if it is one of these.
pub(crate) fn attempt(
    verb: &str,
    words: &[CString],
    gift: Option<&Gift>,
) -> Result<Option<Result<usize, i32>>> {
    let path = || words.first().map(CString::as_c_str).context("no path");
    Ok(Some(match verb {
        "uring-open" => uring::open(path()?),
        "uring-statx" => uring::statx(path()?),
        "receive" => Ok(gift.context("nobody sent a descriptor")?.receive()?),
        _ => return Ok(None),
    }))
}
