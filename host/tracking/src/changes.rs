//! Changes of endpoints that take more than writing down another specification: who becomes the champion, and what was
//! there before.

use plinth_core::refs::ModelRef;
use plinth_store::Tx;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    AliasMove, EndpointChange, EndpointEvent, EndpointRecord, EndpointSpec, RolloutPhase, Tracking, TrackingError,
};

impl Tracking {
    /// Reads an endpoint, alters its specification, and writes it back if nobody else was first.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`], [`TrackingError::EndpointChanged`], and what `alter` returns.
    pub fn alter_endpoint(
        &self,
        name: &str,
        change: EndpointChange<'_>,
        alter: impl FnOnce(&mut EndpointSpec) -> Result<(), TrackingError>,
    ) -> Result<EndpointRecord, TrackingError> {
        let EndpointRecord { revision, mut spec, .. } = self.endpoint(name)?;
        alter(&mut spec)?;
        self.change_endpoint(name, revision, &spec, change)
    }

    /// Lets one deployment answer everything, takes the others out of service, and has an alias of its model name its
    /// version, in one transaction. `from` is the revision that this was decided by, if it was by one.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`], [`TrackingError::EndpointChanged`]; those of [`Tracking::set_alias`].
    pub fn promote_endpoint(
        &self,
        name: &str,
        from: Option<u64>,
        deployment: &str,
        alias: Option<&str>,
        change: EndpointChange<'_>,
    ) -> Result<EndpointRecord, TrackingError> {
        let EndpointRecord { revision, mut spec, .. } = self.endpoint(name)?;
        spec.promote(name, deployment)?;
        let reference = spec.deployments[0].model.parse::<ModelRef>();
        let reference = reference.map_err(|error| TrackingError::BadEndpoint(error.to_string()))?;
        let reason = format!("deployment {deployment} of endpoint {name} was promoted");
        let version = self.resolve(&reference)?.version;
        self.change_endpoint_with(name, from.unwrap_or(revision), &spec, change, |tx| {
            let Some(alias) = alias else { return Ok(Vec::new()) };
            let (model, principal, reason) = (reference.name(), change.who, reason.as_str());
            let from = named(tx, model, alias)?;
            self.move_alias(tx, &AliasMove { model, alias, version, principal, reason, evidence: None })?;
            Ok(vec![MovedAlias { model: model.to_owned(), alias: alias.to_owned(), from, to: Some(version) }])
        })
    }

    /// Approves a rollout, whose deployment becomes the champion.
    ///
    /// # Errors
    /// [`TrackingError::State`] if none waits for it.
    pub fn approve_endpoint(&self, name: &str, change: EndpointChange<'_>) -> Result<EndpointRecord, TrackingError> {
        let record = self.endpoint(name)?;
        match record.spec.active_rollout() {
            Some(rollout) if rollout.phase == RolloutPhase::AwaitingApproval => {
                let alias = rollout.alias.as_deref();
                self.promote_endpoint(name, Some(record.revision), &rollout.deployment, alias, change)
            }
            Some(rollout) => Err(TrackingError::State(format!(
                "the rollout of endpoint `{name}` is {}, at step {} of {}; there is nothing to approve yet",
                rollout.phase.name(),
                rollout.step + 1,
                rollout.steps.len()
            ))),
            None => Err(TrackingError::State(format!("no rollout of endpoint `{name}` is under way"))),
        }
    }

    /// Goes back: takes back what is being rolled out; else, or if `to` says so, makes it what it was in an earlier
    /// revision. A rollout that was under way then is not taken up again. Aliases that moved with what is taken back name
    /// what they named before, unless somebody moved them since.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`] if there was nothing before.
    pub fn roll_back_endpoint(
        &self,
        name: &str,
        to: Option<u64>,
        change: EndpointChange<'_>,
    ) -> Result<EndpointRecord, TrackingError> {
        let mut record = self.endpoint(name)?;
        let to = self.goes_back_to(&record, to)?;
        let because =
            |told: String| format!("{told}{}{}", if change.reason.is_empty() { "" } else { ": " }, change.reason);
        let Some(to) = to else {
            record.spec.roll_back(&because(format!("taken back by {}", change.who)))?;
            return self.change_endpoint(name, record.revision, &record.spec, change);
        };
        let log = self.endpoint_events(name, u64::from(u32::MAX))?;
        let mut spec = self.endpoint_revision(name, to)?;
        if spec.active_rollout().is_some() {
            spec.roll_back("its endpoint went back to before it ended")?;
        }
        let reason = because(format!("back to revision {to}"));
        let change = EndpointChange { reason: &reason, ..change };
        self.change_endpoint_with(name, record.revision, &spec, change, |tx| {
            let mut back = Vec::new();
            for MovedAlias { model, alias, from, to } in moved_since(&log, to) {
                if named(tx, &model, &alias)? != to {
                    continue;
                }
                match from {
                    Some(version) => {
                        let (principal, reason) = (change.who, reason.as_str());
                        let move_back =
                            AliasMove { model: &model, alias: &alias, version, principal, reason, evidence: None };
                        self.move_alias(tx, &move_back)?;
                    }
                    None => self.remove_alias(tx, &model, &alias, change.who)?,
                }
                back.push(MovedAlias { from: to, to: from, model, alias });
            }
            Ok(back)
        })
    }

    /// The revision that going back leads to, where it was not told; none if it takes back what is being rolled out.
    ///
    /// # Errors
    /// [`TrackingError::BadEndpoint`] if there was nothing before.
    pub fn goes_back_to(&self, record: &EndpointRecord, to: Option<u64>) -> Result<Option<u64>, TrackingError> {
        if to.is_some() || record.spec.active_rollout().is_some() {
            return Ok(to);
        }
        let name = &record.name;
        let earlier = before(&self.endpoint_events(name, u64::from(u32::MAX))?, record);
        let none = || TrackingError::BadEndpoint(format!("endpoint `{name}` has no earlier revision"));
        earlier.ok_or_else(none).map(Some)
    }
}

/// An alias that moved with an endpoint: the versions that it named, none where it was not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovedAlias {
    model: String,
    alias: String,
    from: Option<u64>,
    to: Option<u64>,
}

/// Where the evidence of a change has the aliases that moved with it.
const ALIASES: &str = "aliases";

/// What a change was decided by, with the aliases that moved.
pub(crate) fn with_aliases(evidence: Option<&Value>, moved: &[MovedAlias]) -> Option<Value> {
    if moved.is_empty() {
        return evidence.cloned();
    }
    let mut all = match evidence {
        Some(Value::Object(all)) => all.clone(),
        Some(other) => Map::from_iter([("figures".to_owned(), other.clone())]),
        None => Map::new(),
    };
    all.insert(ALIASES.to_owned(), json!(moved));
    Some(Value::Object(all))
}

/// The aliases that moved after a revision, the last first.
fn moved_since(log: &[EndpointEvent], revision: u64) -> Vec<MovedAlias> {
    let mut after: Vec<&EndpointEvent> = log.iter().filter(|event| event.revision > revision).collect();
    after.sort_by_key(|event| std::cmp::Reverse(event.seq));
    let moved = after.iter().filter_map(|event| event.evidence.as_ref()?.get(ALIASES));
    let mut moved: Vec<Vec<MovedAlias>> =
        moved.filter_map(|moved| serde_json::from_value(moved.clone()).ok()).collect();
    moved.iter_mut().for_each(|of_one| of_one.reverse());
    moved.concat()
}

/// The version that an alias names, if it is there.
fn named(tx: &mut dyn Tx, model: &str, alias: &str) -> Result<Option<u64>, TrackingError> {
    let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
    let row = tx.query_one(sql, &[model.into(), alias.into()])?;
    Ok(row.map(|row| row.int(0)).transpose()?.and_then(|version| u64::try_from(version).ok()))
}

/// The newest revision that was something else than what is there, passing over those that were rolled back from.
fn before(log: &[EndpointEvent], now: &EndpointRecord) -> Option<u64> {
    let back = |event: &&EndpointEvent| event.revision == now.revision && event.action == "rollback";
    let mut from = now.revision;
    if let Some(event) = log.iter().find(back)
        && let Some(number) = event.reason.strip_prefix("back to revision ")
    {
        from = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    }
    log.iter()
        .filter(|event| event.revision < from && event.spec.as_ref().is_some_and(|spec| *spec != now.spec))
        .map(|event| event.revision)
        .max()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{Coded, FixedClock, TrackingLimits, UuidIds, codes};
    use plinth_store::{Access, Store, verify_audit};

    use super::*;
    use crate::{
        CapacitySpec, DeploymentSpec, Feedback, FileRole, NewVersion, Policy, RolloutSpec, Sticky, VersionFile,
    };

    const BY: EndpointChange<'static> = EndpointChange { who: "ann", action: "rollback", reason: "", evidence: None };

    /// Two versions of a model, and an endpoint that the first of them answers, with the second beside it.
    fn tracking() -> (tempfile::TempDir, Tracking) {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let hash = store.blobs().put(b"onnx").unwrap();
        let clock = Arc::new(FixedClock::at(1_000));
        let tracking = Tracking::new(store, clock, Arc::new(UuidIds), TrackingLimits::default());
        let files = vec![VersionFile { role: FileRole::Model, path: "model.onnx".into(), hash, bytes: 4 }];
        let new = NewVersion { run_id: None, spec: json!({}), files };
        let deployment = |name: &str, weight| DeploymentSpec {
            name: name.into(),
            model: format!("models:/churn/{}", tracking.register("churn", &new).unwrap()),
            device: None,
            weight,
            shadow: 0.0,
            capacity: CapacitySpec::default(),
            lookup: None,
        };
        let deployments = vec![deployment("champion", 100.0), deployment("canary", 0.0)];
        let spec = EndpointSpec { deployments, ..EndpointSpec::default() };
        tracking.create_endpoint("churn", &spec, BY).unwrap();
        (dir, tracking)
    }

    fn begun(tracking: &Tracking, approval: bool) {
        let steps = vec![10.0, 100.0];
        let rollout = RolloutSpec { deployment: "canary".into(), steps, approval, ..RolloutSpec::default() };
        tracking.alter_endpoint("churn", BY, |spec| spec.begin_rollout(rollout, 1_000)).unwrap();
    }

    fn weights(record: &EndpointRecord) -> Vec<f64> {
        record.spec.deployments.iter().map(|deployment| deployment.weight).collect()
    }

    #[test]
    fn a_promotion_and_its_alias_are_one_change_and_the_way_back_does_not_end_in_the_middle_of_a_rollout() {
        let (_dir, tracking) = tracking();
        begun(&tracking, true);
        let early = tracking.approve_endpoint("churn", BY).unwrap_err();
        assert_eq!(early.code(), codes::INVALID_STATE);
        tracking.alter_endpoint("churn", BY, |spec| spec.step_rollout(1, 2_000)).unwrap();
        let revision = tracking.endpoint("churn").unwrap().revision;
        // Decided by what is no longer there: neither the endpoint nor the alias moves.
        let late = tracking.promote_endpoint("churn", Some(revision - 1), "canary", Some("best"), BY).unwrap_err();
        assert_eq!(late.code(), codes::ENDPOINT_CHANGED);
        assert!(tracking.alias("churn", "best").is_err());
        tracking.alter_endpoint("churn", BY, EndpointSpec::await_approval).unwrap();
        assert_eq!(tracking.approve_endpoint("churn", BY).unwrap().spec.deployments.len(), 1);
        tracking.roll_back_endpoint("churn", None, BY).unwrap();
        let record = tracking.endpoint("churn").unwrap();
        assert_eq!(weights(&record), [100.0, 0.0]);
        assert!(record.spec.active_rollout().is_none());
        tracking.promote_endpoint("churn", None, "canary", Some("best"), BY).unwrap();
        assert_eq!(tracking.alias("churn", "best").unwrap(), 2);
        assert!(tracking.store().catalog().read(verify_audit).unwrap() > 5);
    }

    #[test]
    fn aliases_go_back_with_the_endpoint_that_moved_them() {
        let (_dir, tracking) = tracking();
        let champion = |version| AliasMove {
            model: "churn",
            alias: "champion",
            version,
            principal: "ann",
            reason: "",
            evidence: None,
        };
        tracking.set_alias(&champion(1)).unwrap();
        let alter = |change: fn(&mut EndpointSpec)| {
            tracking.alter_endpoint("churn", BY, |spec| {
                change(spec);
                Ok(())
            })
        };
        alter(|spec| spec.deployments[0].model = "models:/churn@champion".into()).unwrap();
        let start = tracking.endpoint("churn").unwrap();
        let now = || tracking.alias("churn", "champion").ok();
        // What answered before answers again, whatever the alias named meanwhile.
        let promoted = tracking.promote_endpoint("churn", None, "canary", Some("champion"), BY).unwrap();
        assert_eq!(now(), Some(2));
        let back = tracking.roll_back_endpoint("churn", None, BY).unwrap();
        assert_eq!((now(), &back.spec), (Some(1), &start.spec));
        // Forward again, and back over both.
        tracking.roll_back_endpoint("churn", Some(promoted.revision), BY).unwrap();
        assert_eq!(now(), Some(2));
        tracking.roll_back_endpoint("churn", Some(start.revision), BY).unwrap();
        assert_eq!(now(), Some(1));
        // An alias that was not there is not there again; one that somebody else moved stays where it is.
        tracking.promote_endpoint("churn", None, "canary", Some("best"), BY).unwrap();
        assert_eq!(tracking.alias("churn", "best").unwrap(), 2);
        tracking.roll_back_endpoint("churn", None, BY).unwrap();
        assert!(tracking.alias("churn", "best").is_err());
        tracking.promote_endpoint("churn", None, "canary", Some("champion"), BY).unwrap();
        tracking.delete_alias("churn", "champion", "bob").unwrap();
        tracking.roll_back_endpoint("churn", Some(1), BY).unwrap();
        assert_eq!(now(), None);
        assert!(tracking.store().catalog().read(verify_audit).unwrap() > 5);
    }

    #[test]
    fn going_back_takes_back_what_is_being_rolled_out() {
        let (_dir, tracking) = tracking();
        let evidence = json!({"requests": 7});
        begun(&tracking, false);
        let change = EndpointChange { evidence: Some(&evidence), reason: "too slow", ..BY };
        let record = tracking.roll_back_endpoint("churn", None, change).unwrap();
        assert_eq!(weights(&record), [100.0, 0.0]);
        let rollout = record.spec.rollout.unwrap();
        assert_eq!((rollout.phase, rollout.why.as_str()), (RolloutPhase::RolledBack, "taken back by ann: too slow"));
        assert_eq!(tracking.endpoint_events("churn", 1).unwrap()[0].evidence, Some(evidence));
    }

    #[test]
    fn a_bandit_shares_out_alone() {
        let (_dir, tracking) = tracking();
        let with = |change: fn(&mut EndpointSpec)| {
            tracking.alter_endpoint("churn", BY, |spec| {
                spec.policy = Some(Policy::Thompson);
                change(spec);
                Ok(())
            })
        };
        assert_eq!(
            with(|spec| spec.sticky = Some(Sticky::Header("x".into()))).unwrap_err().code(),
            codes::BAD_ENDPOINT
        );
        with(|_| {}).unwrap();
        let rollout = RolloutSpec { deployment: "canary".into(), steps: vec![1.0], ..RolloutSpec::default() };
        let both = tracking.alter_endpoint("churn", BY, |spec| spec.begin_rollout(rollout, 1_000)).unwrap_err();
        assert_eq!(both.code(), codes::BAD_ENDPOINT);
    }

    #[test]
    fn a_reward_counts_once_and_goes_with_its_endpoint() {
        let (_dir, tracking) = tracking();
        let told = |id: &str, deployment: &str, reward| Feedback {
            request_id: id.into(),
            deployment: deployment.into(),
            version: "1".into(),
            reward,
            value: Some(json!({"churned": true})),
        };
        let first = [told("a", "champion", Some(1.0)), told("b", "champion", Some(0.25)), told("c", "canary", None)];
        assert_eq!(tracking.add_feedback("churn", &first).unwrap(), 3);
        let again = [told("a", "champion", Some(0.0)), told("d", "canary", Some(0.5))];
        assert_eq!(tracking.add_feedback("churn", &again).unwrap(), 1);
        let earned = tracking.earned("churn").unwrap();
        let earned: Vec<_> = earned.iter().map(|one| (one.deployment.as_str(), one.count, one.sum)).collect();
        assert_eq!(earned, [("canary", 1, 0.5), ("champion", 2, 1.25)]);
        for reward in [-0.1, 1.1, f64::NAN] {
            let wrong = tracking.add_feedback("churn", &[told("e", "champion", Some(reward))]).unwrap_err();
            assert_eq!(wrong.code(), codes::BAD_REQUEST);
        }
        assert_eq!(tracking.add_feedback("other", &first).unwrap_err().code(), codes::ENDPOINT_NOT_FOUND);
        tracking.delete_endpoint("churn", BY).unwrap();
        assert!(tracking.earned("churn").unwrap().is_empty());
    }
}
