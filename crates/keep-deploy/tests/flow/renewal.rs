// SPDX-License-Identifier: Apache-2.0

//! The rest of step 13: certificates end, and a Keep has the next one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keep_deploy::{deploy, renew};
use keep_identity::Time;

use crate::common::*;

async fn until(what: impl Fn() -> bool) {
    // Long enough for a slow machine; the test waits no longer than it has to.
    for _ in 0..600 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not happen within a minute");
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_clock_says_so_and_connections_go_on() {
    let world = World::new(Workload::usual());
    let ca = Arc::clone(&world.ca);
    let down = Arc::new(AtomicBool::new(false));
    let (host, broken) = (Arc::clone(&world.host), Arc::clone(&down));
    let steward_server = Server::start(
        None,
        Box::new(move |got| {
            if broken.load(Ordering::SeqCst) {
                return vec![Act::Cut];
            }
            let clock: Time = keep_deploy::Host::now(host.as_ref());
            vec![steward(&ca, got, clock)]
        }),
    )
    .await;
    let drawbridge = world.drawbridge().await;
    let launch = world.launch(&steward_server, &drawbridge);
    let deployed = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap();
    let (first, net, who) = (deployed.identity.clone(), deployed.net, deployed.who);

    // A connection from before: it is used again in the end.
    let peer = enarx_config::Peer::new("localhost", drawbridge.address.port());
    let mut old = net.http(&peer).await.unwrap();

    let (renewing, host) = (net.clone(), Arc::clone(&world.host));
    let task = tokio::spawn(async move {
        renew(&renewing, host.as_ref(), &who, deployed.identity).await;
    });
    // Nothing happens before it is due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.host.chains().len(), 1);

    // The Steward is down when it is due: that is told once, and tried again.
    down.store(true, Ordering::SeqCst);
    let ahead = first.renew_at().unix() - now().unix() + 10;
    world.host.ahead.store(ahead, Ordering::SeqCst);
    // The clock is looked at twice a minute; here, time passes quickly.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    until(|| !world.host.warnings().is_empty()).await;
    assert!(world.host.warnings()[0].contains("cannot be renewed"), "{:?}", world.host.warnings());

    down.store(false, Ordering::SeqCst);
    until(|| world.host.chains().len() > 1).await;
    assert_eq!(world.host.warnings().len(), 1, "{:?}", world.host.warnings());

    let chains = world.host.chains();
    let [before, after] = [&chains[0][0], &chains[1][0]];
    let (before, after) = (
        evidence_pki::Certificate::parse(before).unwrap(),
        evidence_pki::Certificate::parse(after).unwrap(),
    );
    assert!(after.not_after > before.not_after);
    assert_ne!(after.spki, before.spki, "the key is a new one");

    // The old connection goes on, with the certificate that it began with.
    let request = hyper::Request::builder().uri(TAG).body(keep_net::Body::default()).unwrap();
    let answer = old.send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let got = drawbridge.got.lock().unwrap();
    assert_eq!(got.last().unwrap().leaf.as_deref(), Some(before.raw));
    task.abort();
}
