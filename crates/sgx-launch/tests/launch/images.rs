// SPDX-License-Identifier: Apache-2.0

//! Images of Keeps as enclaves: a small one made by hand, and the real one if it is there.

use std::fs;
use std::path::PathBuf;

use keep_image::{Image, PageKind};
use keep_layout::{KERNEL_DATA, KERNEL_TEXT, MMAP_START};
use sgx_guest::page::{PageType, Rights, Tcs};
use sgx_launch::{Content, Plan, Region, image};

#[allow(dead_code, reason = "no test uses all of it")]
#[path = "../../../keep-image/tests/common/handmade.rs"]
mod handmade;

/// A thread enters the kernel's text, and what it needs is its own.
fn look_at(plan: &Plan<'_>, image: &Image<'_>, thread: &[Region<'_>], number: u64) {
    let Content::Bytes(tcs) = thread[0].content else { panic!("a thread has bytes") };
    let tcs = Tcs::from_bytes(tcs.try_into().unwrap()).unwrap();
    assert_eq!(thread[0].info.page_type, PageType::Tcs);
    assert!((KERNEL_TEXT..KERNEL_DATA).contains(&tcs.entry));
    assert_eq!(tcs.ssa, thread[1].offset);
    assert_eq!((tcs.fs, tcs.gs), (thread[3].offset, thread[3].offset));
    assert_eq!(thread[0].offset, image::THREADS + number * image::SLOT);
    let Content::Bytes(block) = thread[3].content else { panic!("a thread block has bytes") };
    let block: Vec<u64> =
        block.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let start = if number == 0 { image.start().rdi } else { 0 };
    assert_eq!(block[..10], [tcs.fs, start, 0, 0, 0, 0, 0, 0, 0, number]);
    assert!(block[10..].iter().all(|word| *word == 0));
    let frames = u64::from(tcs.ssa_count) * plan.secs().frame.size();
    assert_eq!(thread[1].content.len(), frames);
    assert!(thread[2].offset > thread[1].offset + frames, "a guard is below the stack");
}

/// What holds for each image as an enclave.
fn look(image: &Image<'_>) {
    let enclave = image::Enclave::new(image);
    let plan = enclave.plan([1; 64]).unwrap();
    assert!(plan.is_keep());

    // Every page of text and data is there, once, at the address for which it was linked, and no other.
    let info = image.info();
    let mut expected = Vec::new();
    for (run, bytes) in image.runs() {
        if run.kind == PageKind::Tables {
            continue;
        }
        let at = info.text_start + (run.phys - info.text_phys);
        match run.kind {
            PageKind::Tables => unreachable!(),
            PageKind::Text => {
                assert!(info.text_start <= at && at + run.len <= KERNEL_DATA);
                expected.push((at, Rights::RX, bytes));
            }
            PageKind::Data => {
                assert!(KERNEL_DATA <= at && at + run.len <= info.data_end);
                assert!(info.data_end <= MMAP_START);
                expected.push((at, Rights::RW, bytes));
            }
        }
    }
    let (loaded, threads) = plan.regions().split_at(expected.len());
    for (region, (at, rights, bytes)) in loaded.iter().zip(&expected) {
        assert_eq!((region.offset, region.info.rights), (*at, *rights));
        assert_eq!(region.content, Content::Bytes(bytes));
    }
    let tables: u64 =
        image.runs().filter(|(run, _)| run.kind == PageKind::Tables).map(|r| r.0.len).sum();
    let slots: u64 = threads.iter().map(|region| region.content.len()).sum();
    assert_eq!(plan.measured_bytes(), image.size() - tables + slots);
    assert_eq!((slots, threads.len()), (7 * 8 * 4096, 7 * 4));

    for (number, thread) in threads.chunks(4).enumerate() {
        look_at(&plan, image, thread, number as u64);
    }
    let zeros = expected.iter().flat_map(|(_, _, bytes)| bytes.chunks(4096));
    let zeros = zeros.filter(|page| page.iter().all(|byte| *byte == 0)).count() * 4096;
    println!("{} bytes are measured: {slots} the threads', {zeros} zeros", plan.measured_bytes());

    // The workload does not count, and the image that travels measures as the one that was built.
    let measured = plan.measure();
    assert_eq!(enclave.plan([2; 64]).unwrap().measure(), measured);
    let encoded = image.encode();
    let decoded = Image::decode(&encoded).unwrap();
    assert_eq!(
        image::Enclave::new(&decoded).plan([1; 64]).map(|plan| plan.measure()),
        Ok(measured)
    );
}

#[test]
fn an_image_becomes_an_enclave() {
    let kernel = handmade::kernel(&handmade::kernel_header());
    let program = handmade::program();
    let image = Image::build(&kernel, &program).unwrap();
    look(&image);
    // One bit of the program counts.
    let mut encoded = image.encode();
    let place = encoded.windows(4).rposition(|bytes| bytes.iter().all(|byte| *byte != 0)).unwrap();
    encoded[place] ^= 1;
    if let Ok(other) = Image::decode(&encoded) {
        let measure = |image: &Image<'_>| {
            image::Enclave::new(image).plan([0; 64]).map(|plan: Plan<'_>| plan.measure())
        };
        assert_ne!(measure(&other), measure(&image));
    }
}

#[test]
fn a_kernel_that_knows_no_enclaves_becomes_none() {
    let header = keep_layout::KernelHeader { enclave_entry: 0, ..handmade::kernel_header() };
    let image = Image::build(&handmade::kernel(&header), &handmade::program()).unwrap();
    assert_eq!(image.enclave_entry(), 0);
    let plan = image::Enclave::new(&image).plan([0; 64]).map(drop);
    assert_eq!(plan, Err(sgx_launch::PlanError::Thread(image::THREADS)));
}

#[test]
fn the_real_image_becomes_an_enclave() {
    let Some(folder) = std::env::var_os("ENARX_KEEP_PROGRAMS").map(PathBuf::from) else {
        println!("skipped: ENARX_KEEP_PROGRAMS names no folder with the programs of Keeps");
        return;
    };
    let file = |name| fs::read(folder.join(name)).unwrap();
    let image = Image::build(&file("keep-kernel"), &file("keep-runtime")).unwrap();
    look(&image);
}
