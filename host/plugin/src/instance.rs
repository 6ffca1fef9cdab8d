//! One running copy of a component: made, called under limits, discarded after a fault.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use plinth_core::{ContentHash, PluginLimits, codes};
use plinth_ext::{ExtError, Tables};
use wasmtime::{
    Store,
    component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower, TypedFunc},
};

use crate::{
    cache::engine_error,
    code::Code,
    engine::Clock,
    fault::{Call, Deadline, PluginError, classify},
    grants::Grants,
    imports,
    limiter::{Budget, Totals},
    manifest::{Anatomy, ExtensionPoint},
    objects::ObjectSource,
    services::Services,
    state::State,
    version::WitVersion,
    wasi,
    wire::WireProblem,
};

/// What a host gives to each of its plugins.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) limits: Arc<PluginLimits>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) deterministic: bool,
}

/// A component that is linked: instances of it can be made.
pub(crate) struct Prepared {
    pub(crate) name: Arc<str>,
    called: Arc<str>,
    hash: ContentHash,
    pub(crate) limits: Arc<PluginLimits>,
    code: Arc<Code>,
    pre: InstancePre<State>,
    wasi: bool,
    services: Services,
    real_clock: bool,
    real_random: bool,
    pub(crate) deterministic: bool,
    clock: Arc<Clock>,
    pub(crate) totals: Arc<Totals>,
    breaker: Breaker,
}

/// What an instance is lent beyond its own memory.
#[derive(Default, Clone)]
pub(crate) struct Lent {
    pub(crate) objects: Option<Arc<dyn ObjectSource>>,
    pub(crate) tables: Option<Arc<dyn Tables>>,
    /// Whether its faults are counted elsewhere: see [`Instance::uncounted`].
    pub(crate) uncounted: bool,
}

impl Prepared {
    pub(crate) fn new(
        code: Arc<Code>,
        hash: ContentHash,
        anatomy: &Anatomy,
        grants: &Grants,
        runtime: Runtime,
    ) -> Result<Self, PluginError> {
        let name = &anatomy.manifest.name;
        let Runtime { limits, clock, totals, deterministic } = runtime;
        let mut linker = Linker::new(code.component.engine());
        imports::link(&mut linker, anatomy, grants).map_err(|error| engine_error(name, &error))?;
        let pre = linker.instantiate_pre(&code.component).map_err(|error| PluginError::UnknownImport {
            plugin: name.clone(),
            import: format!("{:#}", error.root_cause()),
            hint: "build the plugin against the WIT packages of this version".into(),
        })?;
        Ok(Self {
            name: name.as_str().into(),
            called: anatomy.called.as_str().into(),
            hash,
            wasi: imports::imports_wasi(anatomy),
            services: grants.services().clone(),
            real_clock: !deterministic && grants.has("clock"),
            real_random: !deterministic && grants.has("random"),
            breaker: Breaker::new(&limits),
            code,
            pre,
            limits,
            clock,
            totals,
            deterministic,
        })
    }

    /// The newest version in which it exports an extension point.
    pub(crate) fn version_of(&self, point: ExtensionPoint) -> Option<WitVersion> {
        let has =
            |version: &WitVersion| self.code.component.get_export_index(None, point.interface_in(*version)).is_some();
        WitVersion::ALL.into_iter().rev().find(has)
    }

    /// Where an extension point's functions are, in the newest version in which it exports it.
    pub(crate) fn exports<const N: usize>(
        &self,
        point: ExtensionPoint,
        names: [&str; N],
    ) -> Result<[ComponentExportIndex; N], PluginError> {
        let missing = |name: &str| PluginError::WrongWorld {
            plugin: self.name.to_string(),
            wanted: format!("{}.{name}", point.interface_in(self.version_of(point).unwrap_or(WitVersion::LATEST))),
            exports: "an interface of that name without it".into(),
        };
        let version = self.version_of(point).ok_or_else(|| missing(""))?;
        let interface = self.code.component.get_export_index(None, point.interface_in(version));
        let interface = interface.ok_or_else(|| missing(""))?;
        let mut found = Vec::with_capacity(N);
        for name in names {
            found.push(self.code.component.get_export_index(Some(&interface), name).ok_or_else(|| missing(name))?);
        }
        Ok(found.try_into().unwrap_or_else(|_| unreachable!("one index for each name")))
    }

    /// Whether it may be called, or rests.
    ///
    /// # Errors
    /// Who rests, and for how long.
    pub(crate) fn is_awake(&self, call: Call<'_>) -> Result<(), ExtError> {
        self.breaker.check(call)
    }

    /// What came of a call that several instances made: nothing wrong, or a fault after so long.
    pub(crate) fn settle(&self, call: Call<'_>, fault: Option<Duration>) {
        match fault {
            Some(took) => self.breaker.fault(took),
            None => self.breaker.success(call),
        }
    }

    /// Makes an instance whose calls end at a deadline.
    pub(crate) fn instantiate(
        self: &Arc<Self>,
        item: &str,
        lent: Lent,
        deadline: Deadline,
    ) -> Result<Instance, ExtError> {
        let call = Call { plugin: &self.name, item, func: "instantiate" };
        if !lent.uncounted {
            self.breaker.check(call)?;
        }
        let seat = Seat::take(self, call)?;
        let limits = &*self.limits;
        let budget = Budget::new(limits, self.totals.clone());
        let mut state = State::new(self.name.clone(), &self.limits, self.services.clone(), self.deterministic, budget);
        state.called = self.called.clone();
        state.objects = lent.objects;
        state.tables = lent.tables;
        if self.wasi {
            state.wasi = Some(wasi::context(self.real_clock, self.real_random));
        }
        state.begin(deadline.ms);
        let mut store = Store::new(self.code.component.engine(), state);
        store.limiter(|state| &mut state.budget);
        store.set_hostcall_fuel(usize::try_from(limits.state_bytes_max).unwrap_or(usize::MAX));
        store.set_epoch_deadline(Clock::ticks(deadline.ms));
        self.code.use_it();
        self.clock.start_call();
        let began = self.clock.ticked();
        let made = self.pre.instantiate(&mut store);
        self.clock.end_call();
        self.code.use_it();
        match made {
            Ok(instance) => {
                let (prepared, uncounted) = (self.clone(), lent.uncounted);
                Ok(Instance { store, instance, prepared, deadline, broken: false, uncounted, began, _seat: seat })
            }
            Err(error) => {
                if !lent.uncounted {
                    self.breaker.fault(self.clock.since(began));
                }
                Err(classify(call, &error, store.data(), deadline))
            }
        }
    }
}

/// A place among the live instances of the process.
struct Seat(Arc<Prepared>);

impl Seat {
    fn take(prepared: &Arc<Prepared>, call: Call<'_>) -> Result<Self, ExtError> {
        let max = prepared.limits.instances_max;
        let sit = || {
            let before = prepared.totals.instances.fetch_add(1, Ordering::Relaxed);
            (Self(prepared.clone()), before < max)
        };
        let (mut seat, mut free) = sit();
        if !free && prepared.totals.spares.forget_all() {
            drop(seat);
            (seat, free) = sit();
        }
        if !free {
            let message = format!("all {max} instances are busy");
            return Err(ExtError::fault(call.who(), codes::PLUGIN_UNAVAILABLE, message)
                .with_hint("try again, or raise [limits.plugin] instances-max in plinth.toml"));
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.totals.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running component. After a fault it is broken: every further call is refused, and it is to be dropped.
pub(crate) struct Instance {
    store: Store<State>,
    instance: wasmtime::component::Instance,
    pub(crate) prepared: Arc<Prepared>,
    deadline: Deadline,
    broken: bool,
    uncounted: bool,
    /// When its last call began, by the clock's ticks: only a fault makes anybody ask how long that took.
    began: u64,
    // After the store, so that the place is free only when the memory is.
    _seat: Seat,
}

impl Instance {
    /// Whether it had a fault.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether its calls are parts of one that [`Prepared::settle`] is told of: they are made although the plugin rests, and
    /// neither make it rest nor make it sound.
    pub(crate) fn uncounted(&mut self, uncounted: bool) {
        self.uncounted = uncounted;
    }

    /// Whether it was refused memory because of what others have.
    pub(crate) fn lacked_memory_of_others(&self) -> bool {
        self.store.data().budget.denied().is_some_and(|denied| denied.total)
    }

    /// Whether it has grown so much that a fresh one is better.
    pub(crate) fn is_worn(&self) -> bool {
        self.store.data().budget.used() > self.prepared.limits.memory_bytes_max / 4 * 3
    }

    /// From here on its calls have another deadline.
    pub(crate) fn answers_by(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// From here on its calls return rows, which may be larger than anything else.
    pub(crate) fn returns_rows(&mut self) {
        let max = self.prepared.limits.output_bytes_max;
        self.store.set_hostcall_fuel(usize::try_from(max).unwrap_or(usize::MAX));
        self.store.data_mut().crossing = (max, "output-bytes-max");
    }

    /// A function of it, its type checked.
    pub(crate) fn func<P, R>(
        &mut self,
        call: Call<'_>,
        index: &ComponentExportIndex,
    ) -> Result<TypedFunc<P, R>, ExtError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.instance.get_typed_func(&mut self.store, index).map_err(|error| {
            let message = format!("`{}` is not the function that this host calls: {:#}", call.func, error);
            ExtError::fault(call.who(), codes::PLUGIN_WRONG_WORLD, message)
                .with_hint("build the plugin against the WIT packages of this version")
        })
    }

    /// Runs a call under its limits. An error of `body` is a fault: the instance is broken afterwards.
    pub(crate) fn call<R>(
        &mut self,
        call: Call<'_>,
        body: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, ExtError> {
        if self.broken {
            return Err(ExtError::fault(call.who(), codes::PLUGIN_TRAP, "it failed in an earlier call")
                .with_hint("start anew: an instance is not used again after a fault"));
        }
        if !self.uncounted {
            self.prepared.breaker.check(call)?;
        }
        // Costs a look at one flag unless someone listens.
        let prepared = &self.prepared;
        let _span = tracing::debug_span!(
            "plugin.call",
            plugin.name = &*prepared.name,
            plugin.hash = %prepared.hash,
            plugin.item = call.item,
            plugin.func = call.func
        )
        .entered();
        let state = self.store.data_mut();
        state.log.start();
        state.begin(self.deadline.ms);
        self.store.set_epoch_deadline(Clock::ticks(self.deadline.ms));
        self.prepared.code.use_it();
        self.prepared.clock.start_call();
        self.began = self.prepared.clock.ticked();
        let result = body(&mut self.store);
        self.prepared.clock.end_call();
        self.prepared.code.use_it();
        let state = self.store.data_mut();
        state.log.end();
        match result {
            Ok(value) => {
                if !self.uncounted {
                    self.prepared.breaker.success(call);
                }
                Ok(value)
            }
            Err(error) => {
                self.broken = true;
                if !self.uncounted {
                    self.prepared.breaker.fault(self.prepared.clock.since(self.began));
                }
                if let Some((_, captured)) = &state.wasi {
                    let printed = captured.take();
                    if !printed.is_empty() {
                        state.log.write(crate::wire::WireLevel::Error, &printed);
                    }
                }
                tracing::debug!(plugin = %self.prepared.name, func = call.func, error = %format!("{error:?}"), "fault");
                Err(classify(call, &error, state, self.deadline))
            }
        }
    }

    /// The same, where the guest may also say no.
    pub(crate) fn try_call<R>(
        &mut self,
        call: Call<'_>,
        body: impl FnOnce(&mut Store<State>) -> wasmtime::Result<(Result<R, WireProblem>,)>,
    ) -> Result<R, ExtError> {
        let (answer,) = self.call(call, body)?;
        answer.map_err(|mut problem| {
            problem.code = self.strike(problem.code);
            problem.message = self.strike(problem.message);
            problem.column = problem.column.map(|name| self.strike(name));
            call.problem(problem, self.prepared.limits.message_bytes_max)
        })
    }

    /// A text of the guest for a person, without the secrets in it.
    pub(crate) fn strike(&self, text: String) -> String {
        self.store.data().log.strike(text)
    }

    /// Something that it returned broke the contract: it is not used again.
    pub(crate) fn output_fault(&mut self, call: Call<'_>, text: &str) -> ExtError {
        self.broken = true;
        if !self.uncounted {
            self.prepared.breaker.fault(self.prepared.clock.since(self.began));
        }
        call.output_fault(text)
    }
}

/// A rest is so many times as long as the call that failed: what a plugin that only fails costs is bounded by that, and
/// rows of one caller on which it traps at once keep it from the others for a moment only.
const REST_PER_CALL: u32 = 20;
/// The shortest rest.
const REST_MIN: Duration = Duration::from_millis(50);

/// Lets a plugin rest after too many faults in a row.
struct Breaker {
    faults: AtomicU32,
    faults_max: u32,
    rest_max: Duration,
    /// Whether it may be resting; what follows is looked at only then.
    open: AtomicBool,
    until: Mutex<Option<Instant>>,
}

impl Breaker {
    fn new(limits: &PluginLimits) -> Self {
        Self {
            faults: AtomicU32::new(0),
            faults_max: limits.breaker_faults_max,
            rest_max: Duration::from_millis(limits.breaker_rest_ms),
            open: AtomicBool::new(false),
            until: Mutex::new(None),
        }
    }

    fn check(&self, call: Call<'_>) -> Result<(), ExtError> {
        if !self.open.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => {
                let message = format!(
                    "failed {} times in a row and rests for another {} ms",
                    self.faults.load(Ordering::Relaxed),
                    left.as_millis().max(1)
                );
                Err(ExtError::fault(call.who(), codes::PLUGIN_UNAVAILABLE, message)
                    .with_hint("the errors before this one say why it failed"))
            }
            _ => {
                // One fault more and it rests again; one success and it is sound.
                *until = None;
                self.open.store(false, Ordering::Relaxed);
                self.faults.store(self.faults_max.saturating_sub(1), Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn success(&self, call: Call<'_>) {
        if self.faults.load(Ordering::Relaxed) != 0 && !call.prepares() {
            self.faults.store(0, Ordering::Relaxed);
        }
    }

    /// `took` is how long the call took that failed.
    fn fault(&self, took: Duration) {
        let faults = self.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if faults >= self.faults_max.max(1) {
            let rest = took.saturating_mul(REST_PER_CALL).max(REST_MIN).min(self.rest_max);
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + rest);
            self.open.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_a_row_make_a_plugin_rest_and_one_success_forgives() {
        let limits = PluginLimits { breaker_faults_max: 3, breaker_rest_ms: 3_600_000, ..PluginLimits::default() };
        let breaker = Breaker::new(&limits);
        let call = Call { plugin: "p", item: "i", func: "f" };
        breaker.fault(Duration::from_secs(60));
        breaker.fault(Duration::from_secs(60));
        breaker.success(call);
        breaker.fault(Duration::from_secs(60));
        breaker.fault(Duration::from_secs(60));
        breaker.success(Call { func: "fitted.load", ..call });
        assert!(breaker.check(call).is_ok());
        breaker.fault(Duration::from_secs(60));
        let error = breaker.check(call).unwrap_err();
        assert_eq!(plinth_core::Coded::code(&error), codes::PLUGIN_UNAVAILABLE);
        assert!(error.to_string().starts_with("p/i: failed 3 times in a row and rests for another"), "{error}");
        // The rest is over: one call is let through, and one fault ends it at once.
        *breaker.until.lock().unwrap() = Some(Instant::now());
        assert!(breaker.check(call).is_ok());
        breaker.fault(Duration::from_secs(60));
        assert!(breaker.check(call).is_err());
        // What takes no time rests no longer than a moment, and nothing rests longer than it may.
        let rest = |breaker: &Breaker| breaker.until.lock().unwrap().unwrap().saturating_duration_since(Instant::now());
        assert!(rest(&breaker) > Duration::from_secs(1_100));
        breaker.fault(Duration::from_micros(200));
        assert!(rest(&breaker) <= REST_MIN);
        let short = Breaker::new(&PluginLimits { breaker_faults_max: 1, breaker_rest_ms: 10, ..limits });
        short.fault(Duration::from_secs(60));
        assert!(rest(&short) <= Duration::from_millis(10));
    }
}
