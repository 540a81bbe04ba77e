// SPDX-License-Identifier: Apache-2.0

//! What a store of workloads needs besides itself: somebody who vouches for users, and a certificate.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Result;

/// How long its tokens count, in seconds.
const LIFETIME: u64 = 24 * 3600;

/// An OpenID Connect issuer with one user; prints its URL, and a token of that user.
pub(crate) async fn serve(audience: &str, subject: &str) -> Result {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = format!(
        r#"{{"iss":"{url}","sub":"{subject}","aud":"{audience}","client_id":"load","jti":"1","iat":{now},"exp":{},"scope":"manage:drawbridge_users manage:drawbridge_repositories manage:drawbridge_tags"}}"#,
        now + LIFETIME
    );
    let message =
        format!("{}.{}", base64(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"1"}"#), base64(claims.as_bytes()));
    println!("{url}\n{message}.{}", base64(&key.sign(message.as_bytes())?));
    let keys = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"1","x":"{}"}}]}}"#,
        base64(key.der_bytes())
    );
    let document = format!(r#"{{"issuer":"{url}","jwks_uri":"{url}/keys"}}"#);
    loop {
        let (mut stream, _) = listener.accept().await?;
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => head.extend_from_slice(&buffer[..count]),
            }
        }
        let body = if head.starts_with(b"GET /keys ") { &keys } else { &document };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Writes `cert.pem` and `key.pem` of a server called `localhost`.
pub(crate) fn certificate(folder: &Path) -> Result {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
    Ok(std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?)
}

/// For URLs, without padding (RFC 4648, 5).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}
