"""Writes sklearn.json: what scikit-learn makes of 60 rows of the Credit Scoring table (credit_data.csv of the R package
modeldata, rows 1-60). Run: python make_sklearn.py PATH/credit_data.csv > sklearn.json"""

import json
import sys

import numpy as np
import pandas as pd
import sklearn
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

table = pd.read_csv(sys.argv[1]).head(60)
numbers = ["Seniority", "Age", "Income", "Amount", "Price"]
texts = ["Home", "Job"]
# Holes, so that imputing has something to do.
for row, name in enumerate(numbers + texts):
    table.loc[row * 7 + 3, name] = None
table["Amount"] = table["Amount"] / 7 + 1e3

x = table[numbers].to_numpy(dtype=float)
filled = SimpleImputer(strategy="median").fit_transform(x)
words = SimpleImputer(strategy="most_frequent").fit_transform(table[texts].astype(object).where(table[texts].notna(), np.nan))


def columns(array):
    return [[None if isinstance(v, float) and np.isnan(v) else v for v in column] for column in np.asarray(array).T.tolist()]


json.dump(
    {
        "sklearn": sklearn.__version__,
        "numbers": dict(zip(numbers, columns(x))),
        "texts": {name: [v if isinstance(v, str) else None for v in table[name]] for name in texts},
        "impute-mean": columns(SimpleImputer(strategy="mean").fit_transform(x)),
        "impute-median": columns(filled),
        "impute-most-frequent": columns(SimpleImputer(strategy="most_frequent").fit_transform(x)),
        "impute-text": columns(words),
        "standard-scale": columns(StandardScaler().fit_transform(x)),
        "min-max-scale": columns(MinMaxScaler().fit_transform(x)),
        "robust-scale": columns(RobustScaler().fit_transform(x)),
        "quantile-bin": columns(
            KBinsDiscretizer(5, encode="ordinal", strategy="quantile", quantile_method="linear").fit_transform(filled)
        ),
        "one-hot": columns(OneHotEncoder(sparse_output=False).fit_transform(words)),
        "ordinal": columns(OrdinalEncoder().fit_transform(words)),
    },
    sys.stdout,
    indent=0,
)
