//! Whether RabbitMQ takes what is published. One of its alarms stops releases, events and all publishers, and
//! leaves deliveries alone: nothing else here would show it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::pause;
use crate::dispatch::desk::Desk;
use crate::dispatch::health::Part;

/// Looks again and again. A look that waits for RabbitMQ does not hold up the end.
pub(super) async fn run(desk: Arc<Desk>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = once(&desk) => pause(desk.settings.tempo.gauges, &stop).await,
            () = stop.cancelled() => {}
        }
    }
}

async fn once(desk: &Desk) {
    if let Err(error) = desk.ports.publisher.look().await {
        // That it cannot be reached is the consumer's to say.
        debug!(%error, "RabbitMQ is asked again later");
    }
    match desk.ports.publisher.trouble().or_else(|| desk.ports.announcer.trouble()) {
        Some(reason) => {
            if desk.health.down(Part::Publishing, reason.clone()) {
                warn!(reason, "RabbitMQ takes no messages: releases and events wait, and publishers with them");
            }
        }
        None => {
            if desk.health.up(Part::Publishing) {
                info!("RabbitMQ takes messages again");
            }
        }
    }
}
