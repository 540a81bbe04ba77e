// SPDX-License-Identifier: Apache-2.0

//! Keep, hypervisor and firmware together: questions to the firmware.

use std::cell::RefCell;

use sallyport::Window;
use snp_guest::firmware::ask;
use snp_guest::ghcb::{Ghcb, GhcbError};
use snp_guest::host::{Firmware, GhcbAnswer, GhcbRequest, report_answer};
use snp_guest::message::{Channel, ChannelError, Kind};
use snp_guest::request::ReportRequest;
use zeroize::Zeroizing;

use crate::Page;

const SHARED: u64 = 0x20_0000_0000;

/// The machine around a Keep; as a window, the pages behind each other.
struct Host {
    request: Page,
    answer: Page,
    ghcb: Page,
    firmware: RefCell<Firmware>,
}

impl Host {
    fn new() -> Self {
        let firmware = RefCell::new(Firmware::new(Zeroizing::new([7; 32])));
        Self { request: Page::default(), answer: Page::default(), ghcb: Page::default(), firmware }
    }

    fn page(&self, at: usize) -> (&Page, usize) {
        ([&self.request, &self.answer, &self.ghcb][at / 4096], at % 4096)
    }

    /// An honest exit.
    fn serve(&self) {
        let Ok(GhcbRequest::Guest(event)) = GhcbRequest::read(&self.ghcb) else { panic!("what?") };
        assert_eq!((event.request, event.answer), (SHARED, SHARED + 0x1000));
        let mut report = [0; 1184];
        let mut request = [0; 4096];
        let mut answer = [0; 4096];
        self.request.read(0, &mut request);
        let mut reply = [0; ReportRequest::ANSWER];
        self.firmware
            .borrow_mut()
            .serve(&request, &mut answer, |_, payload| {
                report[0x50..0x90].copy_from_slice(&payload[..64]);
                reply = report_answer(&report);
                (Kind::ReportAnswer, &reply)
            })
            .unwrap();
        self.answer.write(0, &answer);
        GhcbAnswer::Done(0).write(&self.ghcb);
    }

    fn ask(&self, channel: &mut Channel, exit: impl FnMut()) -> Result<(), ChannelError> {
        let request = ReportRequest { report_data: [9; 64], vmpl: 0 };
        let ghcb = Ghcb { block: self, start: SHARED, at: 0x2000 };
        let question = (Kind::ReportRequest, &request.to_bytes()[..]);
        let mut page = [0; 4096];
        let answer = ask(channel, question, &mut page, &ghcb, 0, exit)?;
        assert!(request.read(answer).is_ok());
        Ok(())
    }
}

impl Window for Host {
    fn load(&self, at: usize) -> u64 {
        let (page, at) = self.page(at);
        page.load(at)
    }

    fn store(&self, at: usize, word: u64) {
        let (page, at) = self.page(at);
        page.store(at, word);
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        let (page, at) = self.page(at);
        page.read(at, into);
    }

    fn write(&self, at: usize, from: &[u8]) {
        let (page, at) = self.page(at);
        page.write(at, from);
    }
}

fn channel() -> Channel {
    Channel::new(Zeroizing::new([7; 32]))
}

#[test]
fn reports_come_through_and_busy_hosts_get_the_same_bytes_again() {
    let host = Host::new();
    let mut channel = channel();
    host.ask(&mut channel, || host.serve()).unwrap();

    let sent = RefCell::new(Vec::new());
    let exit = || {
        let mut request = vec![0; 4096];
        host.request.read(0, &mut request);
        sent.borrow_mut().push(request);
        // The host spoils its copy; the Keep has another one.
        if sent.borrow().len() < 3 {
            host.request.write(0x60, &[0xee; 100]);
            GhcbAnswer::Done(2 << 32).write(&host.ghcb);
        } else {
            host.serve();
        }
    };
    host.ask(&mut channel, exit).unwrap();
    let sent = sent.into_inner();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|bytes| *bytes == sent[0]));
    host.ask(&mut channel, || host.serve()).unwrap();
}

#[test]
fn whatever_is_no_answer_ends_the_channel() {
    let host = Host::new();
    let dead = |exit: &dyn Fn(), error: ChannelError| {
        let mut channel = channel();
        assert_eq!(host.ask(&mut channel, exit), Err(error));
        assert!(!channel.is_alive());
        let again = host.ask(&mut channel, || panic!("asked"));
        assert_eq!(again, Err(ChannelError::Dead));
    };
    dead(&|| GhcbAnswer::Done(2 << 32).write(&host.ghcb), ChannelError::Busy);
    dead(&|| GhcbAnswer::Done(0x16).write(&host.ghcb), ChannelError::Refused(0x16));
    dead(&|| GhcbAnswer::Done(1 << 32).write(&host.ghcb), ChannelError::Refused(1 << 32));
    dead(
        &|| GhcbAnswer::Exception(13).write(&host.ghcb),
        ChannelError::Ghcb(GhcbError::Exception(13)),
    );
    // "Answered", with nothing there.
    dead(&|| GhcbAnswer::Done(0).write(&host.ghcb), ChannelError::Header);
}
