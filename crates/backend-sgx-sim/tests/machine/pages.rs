// SPDX-License-Identifier: Apache-2.0

//! Pages that come, change and go, and what faults in between.

use sgx_guest::enclu::{Enclu, ErrorCode};
use sgx_guest::exception::vector;
use sgx_guest::page::{PageType, Rights, SecInfo};
use sgx_guest::ssa::fault;

use crate::enclave::{AREA, CODE, Came, DATA, SHARED, Step, THREAD, can, run};

const INFO: u64 = DATA;
const SOURCE: u64 = DATA + 0x1000;

/// The `SECINFO`, and the leaf function.
fn with(leaf: Enclu, info: SecInfo, page: u64, source: u64) -> [Step; 2] {
    let info_step = Step::In(INFO, info.to_bytes().to_vec());
    [info_step, Step::Leaf(leaf as u64, [INFO, page, source])]
}

pub(crate) fn accept(info: SecInfo, page: u64) -> [Step; 2] {
    with(Enclu::Eaccept, info, page, 0)
}

/// What came of the second of each two.
fn seconds(steps: impl IntoIterator<Item = [Step; 2]>) -> Vec<Came> {
    let came = run(steps.into_iter().flatten().collect());
    came.into_iter().skip(1).step_by(2).collect()
}

/// One step, where there are two.
fn only(step: Step) -> [Step; 2] {
    [Step::Load(DATA), step]
}

const BY_MAP: u32 = fault::USER | fault::PRESENT | fault::SGX;

#[test]
fn a_page_is_there_when_it_is_accepted() {
    if !can() {
        return;
    }
    let page = AREA + 0x5000;
    let came = seconds([
        // The host adds it at the first touch, but that is not enough.
        only(Step::Load(page + 8)),
        only(Step::Store(page + 16, 1)),
        accept(SecInfo::added(), page),
        only(Step::Load(page + 8)),
        only(Step::Store(page + 8, 42)),
        only(Step::Load(page + 8)),
        // Twice is once too often, and a page of the beginning needs no acceptance.
        accept(SecInfo::added(), page),
        accept(SecInfo::added(), SOURCE),
        // Without a touch before.
        accept(SecInfo::added(), page + 0x1000),
        only(Step::Load(page + 0x1008)),
        only(Step::Load(page + 0x2000 - 4)),
    ]);
    assert_eq!(came[0].fault(), (vector::PF, page + 8, BY_MAP));
    assert_eq!(came[1].fault(), (vector::PF, page + 16, BY_MAP | fault::WRITE));
    assert_eq!(came[2].value(), 0);
    assert_eq!(came[3].value(), 0, "it is empty");
    assert_eq!(came[5].value(), 42);
    let mismatch = ErrorCode::PageAttributesMismatch.number();
    assert_eq!((came[6].value(), came[7].value()), (mismatch, mismatch));
    assert_eq!((came[8].value(), came[9].value()), (0, 0));
    assert_eq!(came[10].fault(), (vector::PF, page + 0x2000, BY_MAP), "half of it is not there");
}

#[test]
fn code_is_accepted_with_its_content() {
    if !can() {
        return;
    }
    let page = AREA + 0x1000;
    // mov eax, 42; ret
    let code = vec![0xb8, 42, 0, 0, 0, 0xc3];
    let rx = SecInfo::reg(Rights::RX);
    let came = seconds([
        only(Step::In(SOURCE, code)),
        with(Enclu::Eacceptcopy, rx, page, SOURCE),
        only(Step::Call(page)),
        only(Step::Store(page, 0)),
        with(Enclu::Eacceptcopy, rx, page, SOURCE),
        // What can be read and written is no code, until the enclave says so.
        accept(SecInfo::added(), page + 0x1000),
        only(Step::In(page + 0x1000, vec![0xc3])),
        only(Step::Call(page + 0x1000)),
        with(Enclu::Emodpe, SecInfo::reg(Rights::RX), page + 0x1000, 0),
        only(Step::Call(page + 0x1000)),
        // The host's mapping has a say too.
        with(Enclu::Emodpe, SecInfo::reg(Rights::RW), CODE, 0),
        only(Step::Store(CODE + 0xff8, 0)),
        only(Step::Exit([6, CODE, 0x1000, 7])),
    ]);
    assert_eq!((came[1].value(), came[2].value()), (0, 42));
    assert_eq!(came[3].fault(), (vector::PF, page, BY_MAP | fault::WRITE));
    assert_eq!(came[4].value(), ErrorCode::PageAttributesMismatch.number());
    assert_eq!(came[7].fault(), (vector::PF, page + 0x1000, BY_MAP | fault::FETCH));
    assert!(matches!(came[9], Came::Value(_)));
    let by_host = fault::USER | fault::PRESENT | fault::WRITE;
    assert_eq!(came[11].fault(), (vector::PF, CODE + 0xff8, by_host));
    assert_eq!(came[12].value(), 13, "the host may not either");
}

#[test]
fn rights_are_taken_and_that_is_accepted() {
    if !can() {
        return;
    }
    let page = AREA;
    let r = SecInfo::restricted(Rights::R);
    let came = seconds([
        accept(SecInfo::added(), page),
        only(Step::Store(page, 5)),
        accept(r, page),
        only(Step::Exit([3, page, 0x1000, 1])),
        only(Step::Load(page)),
        only(Step::Store(page, 6)),
        // It is not what the enclave expects, then it is, then it is accepted already.
        accept(SecInfo::restricted(Rights::RW), page),
        accept(r, page),
        only(Step::Load(page)),
        with(Enclu::Emodpe, SecInfo::reg(Rights::RW), page, 0),
        only(Step::Store(page, 7)),
        only(Step::Load(page)),
        only(Step::Exit([3, page, 0x1000, 0])),
        accept(SecInfo::restricted(Rights::NONE), page),
        only(Step::Load(page)),
        with(Enclu::Emodpe, SecInfo::reg(Rights::R), page, 0),
        only(Step::Load(page)),
        only(Step::Exit([3, page + 0x1000, 0x1000, 1])),
    ]);
    let mismatch = ErrorCode::PageAttributesMismatch.number();
    assert_eq!(came[2].value(), mismatch, "nothing was taken yet");
    assert_eq!((came[3].value(), came[4].value()), (0, 5));
    assert_eq!(came[5].fault(), (vector::PF, page, BY_MAP | fault::WRITE));
    assert_eq!((came[6].value(), came[7].value(), came[8].value()), (mismatch, 0, 5));
    assert_eq!(came[11].value(), 7);
    assert_eq!((came[12].value(), came[13].value()), (0, 0));
    assert_eq!(came[14].fault(), (vector::PF, page, BY_MAP));
    assert_eq!(came[16].value(), 7, "the content is still there");
    assert_eq!(came[17].value(), 22, "there is no page");
}

#[test]
fn pages_go_when_the_enclave_gives_them_up() {
    if !can() {
        return;
    }
    let trimmed = SecInfo::modified(PageType::Trim);
    let page = AREA + 0x2000;
    let came = seconds([
        accept(SecInfo::added(), page),
        only(Step::Store(page, 5)),
        // Not so fast.
        only(Step::Exit([5, page, 0x1000, 0])),
        only(Step::Exit([4, page, 0x1000, 0])),
        only(Step::Load(page)),
        only(Step::Exit([5, page, 0x1000, 0])),
        accept(trimmed, page),
        only(Step::Load(page)),
        only(Step::Exit([5, page, 0x1000, 0])),
        accept(trimmed, page),
        accept(SecInfo::added(), page),
        only(Step::Load(page)),
        // Neither ranges that are none, nor what was never there.
        only(Step::Exit([4, page + 1, 0x1000, 0])),
        only(Step::Exit([4, page, 0, 0])),
        only(Step::Exit([4, SHARED, 0x1000, 0])),
        only(Step::Exit([4, u64::MAX - 0xfff, 0x2000, 0])),
        only(Step::Exit([5, page + 0x1000, 0x1000, 0])),
        only(Step::Exit([6, CODE - 0x1000, 0x1000, 1])),
    ]);
    assert_eq!(came[2].value(), 1, "EPERM");
    assert_eq!(came[3].value(), 0);
    assert_eq!(came[4].fault(), (vector::PF, page, BY_MAP));
    assert_eq!((came[5].value(), came[6].value()), (1, 0));
    assert_eq!(came[7].fault(), (vector::PF, page, BY_MAP), "given up");
    assert_eq!(came[8].value(), 0);
    // The touch of the acceptance has the host add an empty page.
    assert_eq!(came[9].value(), ErrorCode::PageAttributesMismatch.number());
    assert_eq!((came[10].value(), came[11].value()), (0, 0), "empty again");
    for came in &came[12..17] {
        assert_eq!(came.value(), 22);
    }
    assert_eq!(came[17].value(), 12, "nothing is mapped there");
}

#[test]
fn nobody_touches_what_is_the_processors() {
    if !can() {
        return;
    }
    let came = seconds([
        only(Step::Load(THREAD)),
        only(Step::Store(THREAD + 24, 0)),
        only(Step::Store(CODE, 0)),
        only(Step::Load(THREAD + 0x3000)),
        // `SECINFO`s where none can be.
        only(Step::Leaf(Enclu::Eaccept as u64, [SHARED, AREA, 0])),
        only(Step::Leaf(Enclu::Eaccept as u64, [INFO + 8, AREA, 0])),
        only(Step::Leaf(Enclu::Eaccept as u64, [INFO, AREA + 1, 0])),
        only(Step::Leaf(Enclu::Eaccept as u64, [INFO, SHARED, 0])),
        accept(SecInfo::reg(Rights::RW), AREA),
        accept(SecInfo::added(), CODE + 0x1000),
    ]);
    assert_eq!(came[0].fault(), (vector::PF, THREAD, BY_MAP));
    assert_eq!(came[1].fault(), (vector::PF, THREAD + 24, BY_MAP | fault::WRITE));
    assert_eq!(came[2].fault().0, vector::PF);
    assert_eq!(came[3].fault(), (vector::PF, THREAD + 0x3000, BY_MAP), "a guard");
    for came in &came[4..9] {
        assert_eq!(came.fault(), (vector::GP, 0, 0));
    }
    assert_eq!(came[9].fault(), (vector::PF, CODE + 0x1000, fault::USER), "not mapped");
}

#[test]
fn much_memory_is_added_and_removed() {
    if !can() {
        return;
    }
    const COUNT: u64 = 1500;
    let mut steps = vec![Step::In(INFO, SecInfo::added().to_bytes().to_vec())];
    let pages = || (0..COUNT).map(|n| AREA + n * 0x1000);
    steps.extend(pages().map(|page| Step::Leaf(Enclu::Eaccept as u64, [INFO, page, 0])));
    steps.extend(pages().map(|page| Step::Store(page + 8, page)));
    steps.extend(pages().map(|page| Step::Load(page + 8)));
    steps.push(Step::Exit([4, AREA, COUNT * 0x1000, 0]));
    let came = run(steps);
    let loads = &came[1 + 2 * COUNT as usize..][..COUNT as usize];
    assert!(loads.iter().zip(pages()).all(|(came, page)| came.value() == page));
    assert_eq!(came.last().unwrap().value(), 0);
}
