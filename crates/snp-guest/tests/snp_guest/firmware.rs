// SPDX-License-Identifier: Apache-2.0

//! Keep, hypervisor and firmware together: questions to the firmware.

use std::cell::RefCell;

use sallyport::Window as _;
use snp_guest::firmware::{AskError, Courier, SharedPage};
use snp_guest::ghcb::{Ghcb, GhcbError, SharedArea};
use snp_guest::host::{Firmware, GhcbAnswer, GhcbRequest, report_answer};
use snp_guest::message::{Channel, ChannelError, Kind, PAYLOAD};
use snp_guest::request::{REPORT_VERSION, ReportRequest};
use zeroize::Zeroizing;

use crate::Page;

const SHARED: u64 = 0x20_0000_0000;

/// The machine around a Keep.
struct Host {
    ghcb: Page,
    request: Page,
    answer: Page,
    firmware: RefCell<Firmware>,
}

impl Host {
    fn new() -> Self {
        let firmware = RefCell::new(Firmware::new(Zeroizing::new([7; 32])));
        Self { ghcb: Page::default(), request: Page::default(), answer: Page::default(), firmware }
    }

    fn ghcb(&self) -> Ghcb<&Page> {
        let area = SharedArea::new(SHARED, 2 << 20).unwrap();
        Ghcb::new(&self.ghcb, SHARED + 0x3000, area).unwrap()
    }

    /// An honest exit.
    fn serve(&self) {
        let Ok(GhcbRequest::Guest(event)) = GhcbRequest::read(&self.ghcb) else { panic!("what?") };
        assert_eq!((event.request, event.answer), (SHARED + 0x4000, SHARED + 0x5000));
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

    fn ask(
        &self,
        channel: &mut Channel,
        exit: impl FnMut(),
        wait: impl FnMut() -> bool,
    ) -> Result<(), AskError> {
        let request = ReportRequest { report_data: [9; 64], vmpl: 0 };
        let ghcb = self.ghcb();
        let courier = Courier {
            ghcb: &ghcb,
            request: SharedPage { window: &self.request, address: SHARED + 0x4000 },
            answer: SharedPage { window: &self.answer, address: SHARED + 0x5000 },
        };
        let mut out = [0; PAYLOAD];
        let message = (Kind::ReportRequest, REPORT_VERSION, &request.to_bytes()[..]);
        let size = courier.ask(channel, message, &mut [0; 4096], &mut out, exit, wait)?;
        assert!(request.read(&out[..size]).is_ok());
        Ok(())
    }
}

fn channel() -> Channel {
    Channel::new(Zeroizing::new([7; 32]))
}

fn never() -> bool {
    panic!("nothing to wait for")
}

#[test]
fn reports_come_through_and_busy_hosts_get_the_same_bytes_again() {
    let host = Host::new();
    let mut channel = channel();
    host.ask(&mut channel, || host.serve(), never).unwrap();

    let sent = RefCell::new(Vec::new());
    let mut waits = 0;
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
    let wait = || {
        waits += 1;
        true
    };
    host.ask(&mut channel, exit, wait).unwrap();
    let sent = sent.into_inner();
    assert_eq!((sent.len(), waits), (3, 2));
    assert!(sent.iter().all(|bytes| *bytes == sent[0]));
    host.ask(&mut channel, || host.serve(), never).unwrap();
}

#[test]
fn whatever_is_no_answer_ends_the_channel() {
    let host = Host::new();
    let dead = |exit: &dyn Fn(), error: AskError| {
        let mut channel = channel();
        assert_eq!(host.ask(&mut channel, exit, || false), Err(error));
        assert!(!channel.is_alive());
        let again = host.ask(&mut channel, || panic!("asked"), never);
        assert_eq!(again, Err(AskError::Channel(ChannelError::Dead)));
    };
    dead(&|| GhcbAnswer::Done(2 << 32).write(&host.ghcb), AskError::Busy);
    dead(&|| GhcbAnswer::Done(0x16).write(&host.ghcb), AskError::Refused(0x16));
    dead(&|| GhcbAnswer::Done(1 << 32).write(&host.ghcb), AskError::Refused(1 << 32));
    dead(&|| GhcbAnswer::Exception(13).write(&host.ghcb), AskError::Ghcb(GhcbError::Exception(13)));
    // "Answered", with nothing there.
    dead(&|| GhcbAnswer::Done(0).write(&host.ghcb), AskError::Channel(ChannelError::Header));
}
