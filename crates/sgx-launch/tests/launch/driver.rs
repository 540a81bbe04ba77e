// SPDX-License-Identifier: Apache-2.0

//! The driver's interface against the kernel's own header, through a C compiler.

use std::fs;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use sgx_launch::driver::*;

const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/sgx.h";

/// Pairs of an expression in C and what it is here.
macro_rules! pairs {
    ($($c:literal: $ours:ty { $($field:ident),* })*) => {
        [$(
            (concat!("sizeof(struct ", $c, ")").to_owned(), size_of::<$ours>() as u64),
            $((
                concat!("offsetof(struct ", $c, ", ", stringify!($field), ")").to_owned(),
                offset_of!($ours, $field) as u64,
            ),)*
        )*]
    };
}

#[test]
fn numbers_and_structures_are_the_kernels() {
    let mut pairs = pairs! {
        "sgx_enclave_create": Create { src }
        "sgx_enclave_add_pages": AddPages { src, offset, length, secinfo, flags, count }
        "sgx_enclave_init": Init { sigstruct }
        "sgx_enclave_provision": Provision { fd }
        "sgx_enclave_restrict_permissions":
            RestrictPermissions { offset, length, permissions, result, count }
        "sgx_enclave_modify_types": ModifyTypes { offset, length, page_type, result, count }
        "sgx_enclave_remove_pages": RemovePages { offset, length, count }
        "sgx_enclave_run": EnclaveRun {
            tcs, function, exception_vector, exception_error_code, exception_addr, user_handler,
            user_data, reserved
        }
    }
    .to_vec();
    for (name, number) in [
        ("SGX_IOC_ENCLAVE_CREATE", CREATE),
        ("SGX_IOC_ENCLAVE_ADD_PAGES", ADD_PAGES),
        ("SGX_IOC_ENCLAVE_INIT", INIT),
        ("SGX_IOC_ENCLAVE_PROVISION", PROVISION),
        ("SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS", RESTRICT_PERMISSIONS),
        ("SGX_IOC_ENCLAVE_MODIFY_TYPES", MODIFY_TYPES),
        ("SGX_IOC_ENCLAVE_REMOVE_PAGES", REMOVE_PAGES),
    ] {
        pairs.push((name.to_owned(), number.into()));
    }
    pairs.push(("SGX_PAGE_MEASURE".to_owned(), MEASURE));

    if !fs::read_to_string(HEADER).is_ok_and(|text| text.contains("SGX_IOC_ENCLAVE_MODIFY_TYPES")) {
        println!("skipped: {HEADER} is not there, or of a kernel before 6.0");
        return;
    }
    let asserts: Vec<String> = pairs
        .iter()
        .map(|(c, ours)| format!("_Static_assert({c} == {ours}ull, \"{c} is not {ours}\");\n"))
        .collect();
    let program = format!("#include <stddef.h>\n#include <asm/sgx.h>\n{}", asserts.concat());
    let dir = std::env::temp_dir().join(format!("sgx-launch-driver-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let compiled = compile(&dir, &program);
    let wrong = compile(&dir, &program.replace("== 48ull", "== 47ull"));
    fs::remove_dir_all(&dir).unwrap();
    let (Some(compiled), Some(wrong)) = (compiled, wrong) else {
        println!("skipped: there is no C compiler");
        return;
    };
    assert_eq!(compiled, Ok(()));
    assert!(wrong.is_err(), "the compiler looks at assertions");
}

/// What the compiler complains of; none if there is none.
fn compile(dir: &Path, program: &str) -> Option<Result<(), String>> {
    fs::write(dir.join("sgx.c"), program).unwrap();
    let out = Command::new("cc").args(["-fsyntax-only", "sgx.c"]).current_dir(dir).output().ok()?;
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    Some(if out.status.success() { Ok(()) } else { Err(complaint) })
}

#[test]
fn requests_are_the_published_numbers() {
    assert_eq!(CREATE, 0x4008_a400);
    assert_eq!(ADD_PAGES, 0xc030_a401);
    assert_eq!(INIT, 0x4008_a402);
    assert_eq!(PROVISION, 0x4008_a403);
    assert_eq!(RESTRICT_PERMISSIONS, 0xc028_a405);
    assert_eq!(MODIFY_TYPES, 0xc028_a406);
    assert_eq!(REMOVE_PAGES, 0xc018_a407);
    assert_eq!(EnclaveRun::new(7).tcs, 7);
}
