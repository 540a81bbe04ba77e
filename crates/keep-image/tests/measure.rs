// SPDX-License-Identifier: Apache-2.0

//! The launch digest, against numbers that another implementation gave.

mod common;

use common::handmade::{kernel, kernel_header, program};
use keep_image::{Image, Measurer, PageKind, Sink, Start};

#[test]
fn the_chain_is_the_documented_one() {
    let mut measurer = Measurer::default();
    let bytes: Vec<u8> = (0..8192_u32).map(|i| (i % 251) as u8).collect();
    let Ok(()) = measurer.pages(0x40_0000, PageKind::Text, &bytes);
    let Ok(()) = measurer.start(&Start::from_words(&std::array::from_fn(|i| i as u64 * 0x0101)));
    assert_eq!(measurer.size(), 8192);
    // By Python's hashlib, from the table in the documentation.
    assert_eq!(
        measurer.hex(),
        "5ae0fd981d9d0dba9b2b98f5599d97dfff5d2f66473822eda8e34c1f6f9ae22acfa7a24a380f1710faf386c00a3ffd10"
    );
}

#[test]
fn each_byte_counts() {
    let image = Image::build(&kernel(&kernel_header()), &program()).unwrap();
    let digest = image.measure().digest();
    assert_eq!(image.measure().size(), image.size());

    let mut header = kernel_header();
    header.vectors[14] += 1;
    let other = Image::build(&kernel(&header), &program()).unwrap();
    assert_ne!(other.measure().digest(), digest, "a handler");

    let mut header = kernel_header();
    header.lstar += 1;
    let other = Image::build(&kernel(&header), &program()).unwrap();
    assert_ne!(other.measure().digest(), digest, "a register");

    let mut file = program();
    *file.last_mut().unwrap() ^= 1;
    let other = Image::build(&kernel(&kernel_header()), &file).unwrap();
    assert_ne!(other.measure().digest(), digest, "a byte of the program");
}

#[test]
fn a_launch_from_the_encoded_image_is_measured_alike() {
    let image = Image::build(&kernel(&kernel_header()), &program()).unwrap();
    let encoded = image.encode();
    let decoded = Image::decode(&encoded).unwrap();
    assert_eq!(decoded, image);
    assert_eq!(decoded.measure().digest(), image.measure().digest());
}

#[test]
fn files_may_lie_anywhere_in_memory() {
    let (kernel, program) = (kernel(&kernel_header()), program());
    let image = Image::build(&kernel, &program).unwrap();
    let odd = |bytes: &[u8]| [&[0], bytes].concat();
    assert_eq!(Image::build(&odd(&kernel)[1..], &odd(&program)[1..]).unwrap(), image);
    assert_eq!(Image::decode(&odd(&image.encode())[1..]).unwrap(), image);
}
