//! What became of requests that an endpoint answered, told later by their ids.
//!
//! A reward is added to what its deployment has earned, in the transaction that keeps the request's row, so that none
//! counts twice and none is lost. The sums stay when the rows have gone.

use plinth_core::Micros;
use plinth_store::Value;
use serde::Serialize;

use crate::{Tracking, TrackingError};

/// How long the rows of single requests are kept: 30 days.
const KEPT: Micros = 30 * 86_400_000_000;

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The request's id.
    pub request_id: String,
    /// The deployment that answered it.
    pub deployment: String,
    /// The version of its model.
    pub version: String,
    /// How good the answer was, from 0 to 1; none if only something else is told.
    pub reward: Option<f64>,
    /// Anything else that is told of it, such as what was true.
    pub value: Option<serde_json::Value>,
}

/// What a deployment has earned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Earned {
    /// Its name within the endpoint.
    pub deployment: String,
    /// The version of its model.
    pub version: String,
    /// How many rewards.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Tracking {
    /// Keeps what became of requests; what was told of a request before stays. Returns how many were new.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`]; [`TrackingError::Invalid`] for a reward that is none.
    pub fn add_feedback(&self, endpoint: &str, feedback: &[Feedback]) -> Result<u64, TrackingError> {
        for one in feedback {
            if one.reward.is_some_and(|reward| !(0.0..=1.0).contains(&reward)) {
                let reward = one.reward.unwrap_or_default();
                return Err(TrackingError::Invalid(format!(
                    "a reward of {reward} for request `{}` cannot be: it is a number from 0 to 1",
                    one.request_id
                )));
            }
        }
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            if tx.query_one("SELECT 1 FROM endpoints WHERE name = $1", &[endpoint.into()])?.is_none() {
                return Err(TrackingError::EndpointNotFound {
                    what: format!("endpoint `{endpoint}` in the catalog"),
                    hint: "`plinth endpoint list` shows what there is".into(),
                });
            }
            let mut new = 0;
            for one in feedback {
                let kept = tx.execute(
                    "INSERT INTO endpoint_feedback (endpoint, request_id, deployment, version, reward, value, time_us)
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (endpoint, request_id) DO NOTHING",
                    &[
                        endpoint.into(),
                        one.request_id.as_str().into(),
                        one.deployment.as_str().into(),
                        one.version.as_str().into(),
                        one.reward.map_or(Value::Null, Value::Real),
                        one.value.as_ref().map_or(Value::Null, |value| value.to_string().into()),
                        Value::Int(now),
                    ],
                )?;
                if kept == 0 {
                    continue;
                }
                new += 1;
                let Some(reward) = one.reward else { continue };
                tx.execute(
                    "INSERT INTO endpoint_rewards (endpoint, deployment, version, count, total, updated_us)
                     VALUES ($1, $2, $3, 1, $4, $5)
                     ON CONFLICT (endpoint, deployment, version) DO UPDATE SET count = endpoint_rewards.count + 1,
                       total = endpoint_rewards.total + excluded.total, updated_us = excluded.updated_us",
                    &[
                        endpoint.into(),
                        one.deployment.as_str().into(),
                        one.version.as_str().into(),
                        Value::Real(reward),
                        Value::Int(now),
                    ],
                )?;
            }
            tx.execute(
                "DELETE FROM endpoint_feedback WHERE endpoint = $1 AND time_us < $2",
                &[endpoint.into(), Value::Int(now - KEPT)],
            )?;
            Ok(new)
        })
    }

    /// What was told of single requests at `since` or later, oldest first, each with when.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn feedback(&self, endpoint: &str, since: Micros) -> Result<Vec<(Feedback, Micros)>, TrackingError> {
        self.store.catalog().read(|tx| {
            let rows = tx.query(
                "SELECT request_id, deployment, version, reward, value, time_us FROM endpoint_feedback
                 WHERE endpoint = $1 AND time_us >= $2 ORDER BY time_us, request_id",
                &[endpoint.into(), Value::Int(since)],
            )?;
            rows.iter()
                .map(|row| {
                    let feedback = Feedback {
                        request_id: row.text(0)?,
                        deployment: row.text(1)?,
                        version: row.text(2)?,
                        reward: row.opt_real(3)?,
                        value: row.opt_text(4)?.and_then(|value| serde_json::from_str(&value).ok()),
                    };
                    Ok((feedback, row.int(5)?))
                })
                .collect()
        })
    }

    /// What the deployments of an endpoint have earned, each with each version it had.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn earned(&self, endpoint: &str) -> Result<Vec<Earned>, TrackingError> {
        self.store.catalog().read(|tx| {
            let rows = tx.query(
                "SELECT deployment, version, count, total FROM endpoint_rewards WHERE endpoint = $1
                 ORDER BY deployment, version",
                &[endpoint.into()],
            )?;
            rows.iter()
                .map(|row| {
                    Ok(Earned {
                        deployment: row.text(0)?,
                        version: row.text(1)?,
                        count: row.int(2)? as u64,
                        sum: row.real(3)?,
                    })
                })
                .collect()
        })
    }
}
