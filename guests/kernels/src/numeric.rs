// SPDX-License-Identifier: Apache-2.0

//! Loops over numbers: linear algebra and stencils of the kind PolyBench made usual, and a few
//! classics. Written anew, in plain loops over flat arrays.

type Round = Box<dyn FnMut() -> u64>;

fn filled(n: usize, f: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..n).map(f).collect()
}

fn checksum(values: &[f64]) -> u64 {
    values.iter().fold(0, |sum: u64, v| sum.rotate_left(1) ^ v.to_bits())
}

fn multiply(n: usize, a: &[f64], b: &[f64], c: &mut [f64]) {
    for i in 0..n {
        for k in 0..n {
            let x = a[i * n + k];
            for j in 0..n {
                c[i * n + j] += x * b[k * n + j];
            }
        }
    }
}

pub(crate) fn gemm() -> Round {
    const N: usize = 256;
    let a = filled(N * N, |i| (i % 17) as f64 / 17.0);
    let b = filled(N * N, |i| (i % 23) as f64 / 23.0);
    let mut c = vec![0.0; N * N];
    Box::new(move || {
        c.iter_mut().enumerate().for_each(|(i, c)| *c = (i % 5) as f64 * 1.2);
        multiply(N, &a, &b, &mut c);
        checksum(&c)
    })
}

pub(crate) fn two_mm() -> Round {
    const N: usize = 200;
    let a = filled(N * N, |i| (i % 11) as f64 / 11.0);
    let b = filled(N * N, |i| (i % 13) as f64 / 13.0);
    let c = filled(N * N, |i| (i % 19) as f64 / 19.0);
    let (mut t, mut d) = (vec![0.0; N * N], vec![0.0; N * N]);
    Box::new(move || {
        t.fill(0.0);
        multiply(N, &a, &b, &mut t);
        d.fill(0.5);
        multiply(N, &t, &c, &mut d);
        checksum(&d)
    })
}

pub(crate) fn lu() -> Round {
    const N: usize = 256;
    let start = filled(N * N, |i| {
        let (row, column) = (i / N, i % N);
        if row == column { N as f64 } else { ((row * column) % 29) as f64 / 29.0 }
    });
    Box::new(move || {
        let mut a = start.clone();
        for k in 0..N {
            for i in k + 1..N {
                a[i * N + k] /= a[k * N + k];
                let x = a[i * N + k];
                for j in k + 1..N {
                    a[i * N + j] -= x * a[k * N + j];
                }
            }
        }
        checksum(&a)
    })
}

pub(crate) fn cholesky() -> Round {
    const N: usize = 300;
    let start = filled(N * N, |i| {
        let (row, column) = (i / N, i % N);
        if row == column { 2.0 * N as f64 } else { 1.0 / (1 + row.abs_diff(column)) as f64 }
    });
    Box::new(move || {
        let mut a = start.clone();
        for i in 0..N {
            for j in 0..=i {
                let mut sum = a[i * N + j];
                for k in 0..j {
                    sum -= a[i * N + k] * a[j * N + k];
                }
                a[i * N + j] = if i == j { sum.sqrt() } else { sum / a[j * N + j] };
            }
        }
        checksum(&a)
    })
}

pub(crate) fn correlation() -> Round {
    const M: usize = 220;
    const N: usize = 260;
    let start = filled(N * M, |i| ((i / M) * (i % M)) as f64 / M as f64 + (i / M) as f64);
    Box::new(move || {
        let mut data = start.clone();
        for j in 0..M {
            let mean = (0..N).map(|i| data[i * M + j]).sum::<f64>() / N as f64;
            let variance = (0..N).map(|i| (data[i * M + j] - mean).powi(2)).sum::<f64>() / N as f64;
            let deviation = if variance.sqrt() <= 0.1 { 1.0 } else { variance.sqrt() };
            for i in 0..N {
                data[i * M + j] = (data[i * M + j] - mean) / ((N as f64).sqrt() * deviation);
            }
        }
        let mut result = vec![0.0; M * M];
        for i in 0..M {
            for j in i..M {
                let sum = (0..N).map(|k| data[k * M + i] * data[k * M + j]).sum::<f64>();
                result[i * M + j] = sum;
                result[j * M + i] = sum;
            }
        }
        checksum(&result)
    })
}

pub(crate) fn jacobi_2d() -> Round {
    const N: usize = 400;
    let start = filled(N * N, |i| ((i / N) * (i % N + 2)) as f64 / N as f64);
    Box::new(move || {
        let (mut a, mut b) = (start.clone(), start.clone());
        for _ in 0..40 {
            for i in 1..N - 1 {
                for j in 1..N - 1 {
                    let at = i * N + j;
                    b[at] = 0.2 * (a[at] + a[at - 1] + a[at + 1] + a[at - N] + a[at + N]);
                }
            }
            std::mem::swap(&mut a, &mut b);
        }
        checksum(&a)
    })
}

pub(crate) fn heat_3d() -> Round {
    const N: usize = 60;
    let start = filled(N * N * N, |i| ((i / (N * N)) + (i / N % N) + (N - i % N)) as f64 / 10.0);
    Box::new(move || {
        let (mut a, mut b) = (start.clone(), start.clone());
        for _ in 0..20 {
            for i in 1..N - 1 {
                for j in 1..N - 1 {
                    for k in 1..N - 1 {
                        let at = (i * N + j) * N + k;
                        let along = |step: usize| a[at + step] - 2.0 * a[at] + a[at - step];
                        b[at] = a[at] + 0.125 * (along(N * N) + along(N) + along(1));
                    }
                }
            }
            std::mem::swap(&mut a, &mut b);
        }
        checksum(&a)
    })
}

pub(crate) fn floyd_warshall() -> Round {
    const N: usize = 280;
    let start: Vec<i32> = (0..N * N)
        .map(|i| if (i / N + i % N) % 13 == 0 { 999 } else { ((i / N) * (i % N) % 7 + 1) as i32 })
        .collect();
    Box::new(move || {
        let mut paths = start.clone();
        for k in 0..N {
            for i in 0..N {
                let first = paths[i * N + k];
                for j in 0..N {
                    paths[i * N + j] = paths[i * N + j].min(first + paths[k * N + j]);
                }
            }
        }
        paths.iter().fold(0, |sum: u64, v| sum.rotate_left(1) ^ *v as u64)
    })
}

pub(crate) fn matrix_f32() -> Round {
    const N: usize = 288;
    let a: Vec<f32> = (0..N * N).map(|i| (i % 31) as f32 / 31.0).collect();
    let b: Vec<f32> = (0..N * N).map(|i| (i % 37) as f32 / 37.0).collect();
    Box::new(move || {
        let mut c = vec![0f32; N * N];
        for i in 0..N {
            for j in 0..N {
                c[i * N + j] = (0..N).map(|k| a[i * N + k] * b[k * N + j]).sum();
            }
        }
        c.iter().fold(0, |sum: u64, v| sum.rotate_left(1) ^ u64::from(v.to_bits()))
    })
}

pub(crate) fn matrix_simd() -> Round {
    const N: usize = 384;
    let a: Vec<f32> = (0..N * N).map(|i| (i % 31) as f32 / 31.0).collect();
    let b: Vec<f32> = (0..N * N).map(|i| (i % 37) as f32 / 37.0).collect();
    Box::new(move || {
        let mut c = vec![0f32; N * N];
        for i in 0..N {
            for k in 0..N {
                add_scaled(&mut c[i * N..][..N], &b[k * N..][..N], a[i * N + k]);
            }
        }
        c.iter().fold(0, |sum: u64, v| sum.rotate_left(1) ^ u64::from(v.to_bits()))
    })
}

/// `to += from * by`, four at a time.
#[target_feature(enable = "simd128")]
fn add_scaled(to: &mut [f32], from: &[f32], by: f32) {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};
    assert!(to.len() == from.len() && to.len().is_multiple_of(4), "whole vectors");
    let by = f32x4_splat(by);
    for (to, from) in to.chunks_exact_mut(4).zip(from.chunks_exact(4)) {
        let (to, from) = (to.as_mut_ptr().cast::<v128>(), from.as_ptr().cast::<v128>());
        // SAFETY: both slices hold four `f32`, and Wasm's vector accesses need no alignment.
        unsafe { v128_store(to, f32x4_add(v128_load(to), f32x4_mul(v128_load(from), by))) };
    }
}

pub(crate) fn nbody() -> Round {
    const STEPS: usize = 150_000;
    // Sun, Jupiter, Saturn, Uranus, Neptune; rough figures will do.
    let start: [[f64; 7]; 5] = [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 39.478],
        [4.841, -1.160, -0.104, 0.606, 2.812, -0.025, 0.0377],
        [8.343, 4.125, -0.404, -1.011, 1.826, 0.008, 0.0113],
        [12.894, -15.111, -0.223, 1.083, 0.869, -0.011, 0.0017],
        [15.379, -25.919, 0.179, 0.979, 0.595, -0.035, 0.0020],
    ];
    Box::new(move || {
        let mut bodies = start;
        for _ in 0..STEPS {
            for i in 0..5 {
                let (head, tail) = bodies.split_at_mut(i + 1);
                let a = &mut head[i];
                for b in tail {
                    let d = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
                    let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                    let force = 0.001 / (square * square.sqrt());
                    for axis in 0..3 {
                        a[3 + axis] -= d[axis] * b[6] * force;
                        b[3 + axis] += d[axis] * a[6] * force;
                    }
                }
            }
            for body in &mut bodies {
                for axis in 0..3 {
                    body[axis] += 0.001 * body[3 + axis];
                }
            }
        }
        checksum(bodies.as_flattened())
    })
}

pub(crate) fn mandelbrot() -> Round {
    const N: usize = 320;
    Box::new(|| {
        let mut inside = 0u64;
        for y in 0..N {
            for x in 0..N {
                let (cr, ci) = (x as f64 * 3.0 / N as f64 - 2.0, y as f64 * 2.0 / N as f64 - 1.0);
                let (mut r, mut i, mut n) = (0.0, 0.0, 0u64);
                while n < 200 && r * r + i * i <= 4.0 {
                    (r, i) = (r * r - i * i + cr, 2.0 * r * i + ci);
                    n += 1;
                }
                inside = inside.wrapping_mul(31).wrapping_add(n);
            }
        }
        inside
    })
}

pub(crate) fn fannkuch() -> Round {
    const N: usize = 9;
    Box::new(|| {
        let mut permutation: [u8; N] = std::array::from_fn(|i| i as u8);
        let mut count = [0usize; N];
        let (mut most, mut sum, mut sign, mut level) = (0u64, 0u64, 1u64, N);
        loop {
            while level > 1 {
                count[level - 1] = level;
                level -= 1;
            }
            let (mut work, mut flips) = (permutation, 0);
            while work[0] != 0 {
                let end = usize::from(work[0]);
                work[..=end].reverse();
                flips += 1;
            }
            most = most.max(flips);
            sum = sum.wrapping_add(flips.wrapping_mul(sign));
            sign = sign.wrapping_neg();
            loop {
                if level == N {
                    return sum ^ (most << 32);
                }
                permutation[..=level].rotate_left(1);
                count[level] -= 1;
                if count[level] > 0 {
                    break;
                }
                level += 1;
            }
        }
    })
}
