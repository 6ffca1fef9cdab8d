//! Users, as MLflow's own access control names them. `is_admin` is the role `admin`; other roles are given by
//! `plinth user`.

use axum::http::Method;
use plinth_tracking::{Role, User};
use serde_json::{Value, json};

use super::{Answer, Call, MlflowError, Need, Route, fields::missing};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/users/create", Need::Admin, create),
    Route::get("/mlflow/users/get", Need::Admin, get),
    Route::get("/mlflow/users/list", Need::Admin, list),
    Route::get("/mlflow/users/current", Need::Narrow, current),
    Route::new(Method::PATCH, "/mlflow/users/update-password", Need::Narrow, update_password),
    Route::new(Method::PATCH, "/mlflow/users/update-admin", Need::Admin, update_admin),
    Route::new(Method::DELETE, "/mlflow/users/delete", Need::Admin, delete),
];

fn create(call: &Call<'_>) -> Outcome {
    let (name, password) = (call.fields.required("username")?, call.fields.required("password")?);
    call.tracking.add_user(name, password, Role::Reader, call.who())?;
    get(call)
}

fn get(call: &Call<'_>) -> Outcome {
    Answer::of(&json!({"user": wire(&found(call)?)}))
}

fn found(call: &Call<'_>) -> Result<User, MlflowError> {
    let name = call.fields.required("username")?;
    let user = call.tracking.users()?.into_iter().find(|user| user.name == name);
    user.ok_or_else(|| MlflowError::not_found(format!("User with username={name} not found")))
}

fn list(call: &Call<'_>) -> Outcome {
    let users: Vec<Value> = call.tracking.users()?.iter().map(wire).collect();
    Answer::of(&json!({"users": users}))
}

fn current(call: &Call<'_>) -> Outcome {
    Answer::of(&json!({"user": {"username": call.who(), "is_admin": call.principal.role == Role::Admin}}))
}

/// Everyone may change their own.
fn update_password(call: &Call<'_>) -> Outcome {
    let (name, password) = (call.fields.required("username")?, call.fields.required("password")?);
    if name != call.who() {
        call.must(Need::Admin, "username", name)?;
    }
    call.tracking.set_password(name, password, call.who())?;
    Ok(Answer::empty())
}

fn update_admin(call: &Call<'_>) -> Outcome {
    let admin = call.fields.flag("is_admin")?.ok_or_else(|| missing("is_admin"))?;
    let user = found(call)?;
    let role = match (admin, user.role) {
        (true, _) => Role::Admin,
        (false, Role::Admin) => Role::Reader,
        // Who is no admin keeps what they have.
        (false, other) => other,
    };
    call.tracking.set_role(&user.name, role, call.who())?;
    Ok(Answer::empty())
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.remove_user(call.fields.required("username")?, call.who())?;
    Ok(Answer::empty())
}

fn wire(user: &User) -> Value {
    json!({"username": user.name, "is_admin": user.role == Role::Admin, "role": user.role})
}
