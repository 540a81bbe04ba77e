// SPDX-License-Identifier: Apache-2.0

//! The rest of step 13: a new certificate before the old one ends.
//!
//! New connections use the new certificate; old ones go on, with keys that they have agreed on. The key is
//! new each time, so that what one key could do ends with its certificate.

use std::convert::Infallible;
use std::time::Duration;

use keep_identity::Identity;
use keep_launch::Event;
use keep_net::Net;
use tokio::time::Instant;

use crate::steward::{announce, seconds_until};
use crate::{Host, Who, identify};

/// The clock is looked at this often: it may jump.
const LOOK: Duration = Duration::from_secs(30);
/// No certificate is renewed sooner.
const SHORTEST: Duration = Duration::from_secs(1);
/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Renews the identity in `net` for as long as it is polled. `identity` is the one that is installed now.
///
/// A failure is told to the host, once for each new reason, and tried again; what happens if it lasts until the
/// certificate ends is up to those who are shown the old one.
pub async fn renew(net: &Net, host: &dyn Host, who: &Who, mut identity: Identity) -> Infallible {
    loop {
        wait(host, &identity).await;
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        identity = loop {
            let failed = match identify(net, host, who).await {
                Ok(new) => match net.identity().install(&new) {
                    Ok(()) => break new,
                    Err(error) => error.to_string(),
                },
                Err(error) => error.message(),
            };
            if failed != told {
                let ends = identity.not_after();
                let message = format!(
                    "the certificate, which ends at {ends}, cannot be renewed and will be tried again: \
                     {failed}"
                );
                host.event(Event::Warning { message });
                told = failed;
            }
            tokio::time::sleep(pause).await;
            // The shorter the rest, the more often, but never in a hurry.
            let rest = Duration::from_secs(seconds_until(host.now(), identity.not_after()) / 10);
            pause = (pause * 2).min(LONGEST_PAUSE).min(rest.max(FIRST_PAUSE));
        };
        announce(host, &identity);
    }
}

/// Waits until the identity is due by the clock, or has been used for as long as it would take by the clock
/// to be due. So neither a clock that is set back nor one that is set forward makes a Keep miss it.
async fn wait(host: &dyn Host, identity: &Identity) {
    let began = Instant::now();
    let due = identity.renew_at();
    let most = Duration::from_secs(seconds_until(host.now(), due));
    // Whatever the clock and the certificate say, renewal is no endless loop.
    tokio::time::sleep(SHORTEST).await;
    loop {
        let rest = Duration::from_secs(seconds_until(host.now(), due));
        let rest = rest.min(most.saturating_sub(began.elapsed()));
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest.min(LOOK)).await;
    }
}
