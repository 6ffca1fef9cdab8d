module github.com/plinth-ml/plinth/sdk/go

go 1.24
