-- What a file of captures holds: requests with their answers, or what the columns of such had to do with the answers.
ALTER TABLE captures ADD COLUMN kind TEXT NOT NULL DEFAULT 'requests';
