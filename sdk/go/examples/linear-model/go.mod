module linear-model

go 1.24

require github.com/plinth-ml/plinth/sdk/go v0.1.0

replace github.com/plinth-ml/plinth/sdk/go => ../..
