BEGIN TRANSACTION;
CREATE TABLE artifacts (
	sha256 VARCHAR(64) NOT NULL, 
	mime VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	width INTEGER, 
	height INTEGER, 
	PRIMARY KEY (sha256)
);
INSERT INTO "artifacts" VALUES('8ca5f8a4cc1287bee6767d80d568975e5be9aae2e7923caaa500400fb80b1107','text/plain; charset=utf-8',18000,NULL,NULL);
CREATE TABLE costs (
	run_id VARCHAR(26) NOT NULL, 
	seq INTEGER NOT NULL, 
	step VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	element INTEGER, 
	tool VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	quantity FLOAT NOT NULL, 
	unit VARCHAR NOT NULL, 
	unit_price_usd VARCHAR, 
	amount_nano BIGINT, 
	source VARCHAR NOT NULL, 
	priced BOOLEAN NOT NULL, 
	estimate_nano BIGINT, 
	overrun BOOLEAN NOT NULL, 
	note TEXT NOT NULL, 
	PRIMARY KEY (run_id, seq), 
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "costs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',1,'a',1,NULL,'words','call',1.0,'call','0.002',2000000,'declared',1,2000000,0,'');
INSERT INTO "costs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',2,'b',1,0,'up','call',1.0,'call','0.001',1000000,'declared',1,1000000,0,'');
INSERT INTO "costs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',3,'c',1,NULL,'free','estimate',1.0,'call',NULL,NULL,'estimated',0,NULL,0,'its price model does not know the price of this call');
INSERT INTO "costs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',4,'b',1,1,'up','call',1.0,'call','0.001',1000000,'declared',1,1000000,0,'');
INSERT INTO "costs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3',1,'a',1,NULL,'up','call',1.0,'call','0.001',1000000,'declared',1,1000000,0,'');
INSERT INTO "costs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3',2,'b',1,NULL,'fails','call',1.0,'call','0.004',4000000,'declared',1,4000000,0,'');
INSERT INTO "costs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3',3,'b',2,NULL,'fails','call',1.0,'call','0.004',4000000,'declared',1,4000000,0,'');
CREATE TABLE events (
	seq INTEGER NOT NULL, 
	run_id VARCHAR(26) NOT NULL, 
	run_seq INTEGER NOT NULL, 
	ts_ns BIGINT NOT NULL, 
	type VARCHAR NOT NULL, 
	step VARCHAR, 
	attempt INTEGER, 
	element INTEGER, 
	data_json TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "events" VALUES(1,'01M80VJBHC9HX07XV42TYHP4C8',1,1795325242955771686,'run.created',NULL,NULL,NULL,'{"plan": "87eb8189af76c6ccf16676ef688a2e7da558a5ecc37106268c0b8b22a67996cb", "steps": 3, "budget": null, "limit": null, "deadline_ms": null}');
INSERT INTO "events" VALUES(2,'01M80VJBHC9HX07XV42TYHP4C8',2,1795325242955771686,'run.started',NULL,NULL,NULL,'{}');
INSERT INTO "events" VALUES(3,'01M80VJBHC9HX07XV42TYHP4C8',3,1795325242955771686,'node.ready','a',NULL,NULL,'{}');
INSERT INTO "events" VALUES(4,'01M80VJBHC9HX07XV42TYHP4C8',4,1795325242955771686,'node.ready','c',NULL,NULL,'{}');
INSERT INTO "events" VALUES(5,'01M80VJBHC9HX07XV42TYHP4C8',5,1795325242956187564,'node.started','a',1,NULL,'{"tool": "words", "reserved": "0.002", "est": "0.002", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(6,'01M80VJBHC9HX07XV42TYHP4C8',6,1795325242956378197,'node.settled','a',1,NULL,'{"tool": "words", "outcome": "ok", "amount": "0.002", "ms": 0.190633}');
INSERT INTO "events" VALUES(7,'01M80VJBHC9HX07XV42TYHP4C8',7,1795325242956378197,'node.finished','a',NULL,NULL,'{"tool": "words", "attempts": 1}');
INSERT INTO "events" VALUES(8,'01M80VJBHC9HX07XV42TYHP4C8',8,1795325242956519528,'node.ready','b',NULL,NULL,'{"width": 2}');
INSERT INTO "events" VALUES(9,'01M80VJBHC9HX07XV42TYHP4C8',9,1795325242956688829,'node.started','b',1,0,'{"tool": "up", "reserved": "0.001", "est": "0.001", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(10,'01M80VJBHC9HX07XV42TYHP4C8',10,1795325242956781377,'node.settled','b',1,0,'{"tool": "up", "outcome": "ok", "amount": "0.001", "ms": 0.092548}');
INSERT INTO "events" VALUES(11,'01M80VJBHC9HX07XV42TYHP4C8',11,1795325242956781377,'node.finished','b',NULL,0,'{}');
INSERT INTO "events" VALUES(12,'01M80VJBHC9HX07XV42TYHP4C8',12,1795325242956815307,'node.started','c',1,NULL,'{"tool": "free", "reserved": "0.00", "est": null, "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(13,'01M80VJBHC9HX07XV42TYHP4C8',13,1795325242956886803,'node.settled','c',1,NULL,'{"tool": "free", "outcome": "ok", "amount": null, "ms": 0.071496, "note": "its price model does not know the price of this call"}');
INSERT INTO "events" VALUES(14,'01M80VJBHC9HX07XV42TYHP4C8',14,1795325242956886803,'node.finished','c',NULL,NULL,'{"tool": "free", "attempts": 1}');
INSERT INTO "events" VALUES(15,'01M80VJBHC9HX07XV42TYHP4C8',15,1795325242956943518,'node.started','b',1,1,'{"tool": "up", "reserved": "0.001", "est": "0.001", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(16,'01M80VJBHC9HX07XV42TYHP4C8',16,1795325242959003519,'node.settled','b',1,1,'{"tool": "up", "outcome": "ok", "amount": "0.001", "ms": 2.060001}');
INSERT INTO "events" VALUES(17,'01M80VJBHC9HX07XV42TYHP4C8',17,1795325242959003519,'node.finished','b',NULL,1,'{}');
INSERT INTO "events" VALUES(18,'01M80VJBHC9HX07XV42TYHP4C8',18,1795325242959003519,'node.finished','b',NULL,NULL,'{"width": 2, "lost": 0}');
INSERT INTO "events" VALUES(19,'01M80VJBHC9HX07XV42TYHP4C8',19,1795325242959077439,'run.finished',NULL,NULL,NULL,'{"status": "complete", "spent": "0.004", "ms": 3.305753, "outputs": {"b": {"status": "ok"}, "c": {"status": "ok"}, "a": {"status": "ok"}}}');
INSERT INTO "events" VALUES(20,'01M80VJBJP7AVRJ51SXQEQA7W3',1,1795325242971829029,'run.created',NULL,NULL,NULL,'{"plan": "836b9f63dbd2d042b996940acb98498e95eba519177ea97ea07f524ed2fe473d", "steps": 2, "budget": "0.02", "limit": null, "deadline_ms": null}');
INSERT INTO "events" VALUES(21,'01M80VJBJP7AVRJ51SXQEQA7W3',2,1795325242971829029,'run.started',NULL,NULL,NULL,'{}');
INSERT INTO "events" VALUES(22,'01M80VJBJP7AVRJ51SXQEQA7W3',3,1795325242971829029,'node.ready','a',NULL,NULL,'{}');
INSERT INTO "events" VALUES(23,'01M80VJBJP7AVRJ51SXQEQA7W3',4,1795325242972064499,'node.started','a',1,NULL,'{"tool": "up", "reserved": "0.001", "est": "0.001", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(24,'01M80VJBJP7AVRJ51SXQEQA7W3',5,1795325242972192128,'node.settled','a',1,NULL,'{"tool": "up", "outcome": "ok", "amount": "0.001", "ms": 0.127629}');
INSERT INTO "events" VALUES(25,'01M80VJBJP7AVRJ51SXQEQA7W3',6,1795325242972192128,'node.finished','a',NULL,NULL,'{"tool": "up", "attempts": 1}');
INSERT INTO "events" VALUES(26,'01M80VJBJP7AVRJ51SXQEQA7W3',7,1795325242972192128,'node.ready','b',NULL,NULL,'{}');
INSERT INTO "events" VALUES(27,'01M80VJBJP7AVRJ51SXQEQA7W3',8,1795325242972300930,'node.started','b',1,NULL,'{"tool": "fails", "reserved": "0.004", "est": "0.004", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(28,'01M80VJBJP7AVRJ51SXQEQA7W3',9,1795325242972379577,'node.settled','b',1,NULL,'{"tool": "fails", "outcome": "error", "amount": "0.004", "ms": 0.078647, "reason": "fails: no: X", "error": "ValueError"}');
INSERT INTO "events" VALUES(29,'01M80VJBJP7AVRJ51SXQEQA7W3',10,1795325242972379577,'node.retrying','b',1,NULL,'{"reason": "fails: no: X", "delay_ms": 1.172, "tool": "fails"}');
INSERT INTO "events" VALUES(30,'01M80VJBJP7AVRJ51SXQEQA7W3',11,1795325242974673376,'node.started','b',2,NULL,'{"tool": "fails", "reserved": "0.004", "est": "0.004", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(31,'01M80VJBJP7AVRJ51SXQEQA7W3',12,1795325242974784992,'node.settled','b',2,NULL,'{"tool": "fails", "outcome": "error", "amount": "0.004", "ms": 0.111616, "reason": "fails: no: X", "error": "ValueError"}');
INSERT INTO "events" VALUES(32,'01M80VJBJP7AVRJ51SXQEQA7W3',13,1795325242974784992,'node.failed','b',NULL,NULL,'{"reason": "fails: no: X"}');
INSERT INTO "events" VALUES(33,'01M80VJBJP7AVRJ51SXQEQA7W3',14,1795325242974879452,'run.finished',NULL,NULL,NULL,'{"status": "degraded", "spent": "0.009", "ms": 3.050423, "outputs": {"a": {"status": "ok"}, "b": {"status": "failed", "reason": "fails: no: X"}}}');
INSERT INTO "events" VALUES(34,'01M80VJBK14CTG1YS65QRHB1MG',1,1795325242981136110,'run.created',NULL,NULL,NULL,'{"plan": "42dc7cd1d56f41f4b83359f4c75664d04fa5576f193b2e7e082516bcfffcc8b7", "steps": 2, "budget": null, "limit": null, "deadline_ms": null}');
INSERT INTO "events" VALUES(35,'01M80VJBK14CTG1YS65QRHB1MG',2,1795325242981136110,'run.started',NULL,NULL,NULL,'{}');
INSERT INTO "events" VALUES(36,'01M80VJBK14CTG1YS65QRHB1MG',3,1795325242981136110,'node.ready','a',NULL,NULL,'{}');
INSERT INTO "events" VALUES(37,'01M80VJBK14CTG1YS65QRHB1MG',4,1795325242981336578,'node.started','a',1,NULL,'{"tool": "up", "reserved": "0.001", "est": "0.001", "est_ms": 0.0, "timeout_ms": 60000.0}');
INSERT INTO "events" VALUES(38,'01M80VJBK14CTG1YS65QRHB1MG',5,1795325242981574561,'node.settled','a',1,NULL,'{"tool": "up", "outcome": "ok", "amount": "0.001", "ms": 0.237983}');
INSERT INTO "events" VALUES(39,'01M80VJBK14CTG1YS65QRHB1MG',6,1795325242981574561,'node.finished','a',NULL,NULL,'{"tool": "up", "attempts": 1}');
INSERT INTO "events" VALUES(40,'01M80VJBK14CTG1YS65QRHB1MG',7,1795325242981574561,'node.ready','b',NULL,NULL,'{}');
INSERT INTO "events" VALUES(41,'01M80VJBK14CTG1YS65QRHB1MG',8,1795325242981681871,'node.started','b',1,NULL,'{"tool": "dies", "reserved": "0.003", "est": "0.003", "est_ms": 0.0, "timeout_ms": 60000.0}');
CREATE TABLE meta (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE outputs (
	run_id VARCHAR(26) NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	reason TEXT, 
	mime VARCHAR, 
	inline_text TEXT, 
	sha256 VARCHAR(64), 
	PRIMARY KEY (run_id, position), 
	FOREIGN KEY(run_id) REFERENCES runs (id), 
	FOREIGN KEY(sha256) REFERENCES artifacts (sha256)
);
INSERT INTO "outputs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',0,'b','ok','','application/json','["TWO", "WORDS"]',NULL);
INSERT INTO "outputs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',1,'c','ok','','text/plain; charset=utf-8',NULL,'8ca5f8a4cc1287bee6767d80d568975e5be9aae2e7923caaa500400fb80b1107');
INSERT INTO "outputs" VALUES('01M80VJBHC9HX07XV42TYHP4C8',2,'a','ok','','application/json','["two", "words"]',NULL);
INSERT INTO "outputs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3',0,'a','ok','','text/plain; charset=utf-8','X',NULL);
INSERT INTO "outputs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3',1,'b','failed','fails: no: X',NULL,NULL,NULL);
CREATE TABLE plans (
	hash VARCHAR(64) NOT NULL, 
	source TEXT NOT NULL, 
	ast_json TEXT NOT NULL, 
	n_nodes INTEGER NOT NULL, 
	created_ns BIGINT NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "plans" VALUES('87eb8189af76c6ccf16676ef688a2e7da558a5ecc37106268c0b8b22a67996cb','in t: text
a = words(t)
b = up(each a)
c = free(t)
out b, c, a
','{"planlang": 1, "inputs": [{"name": "t", "type": "text"}], "steps": [{"name": "a", "try": [{"tool": "words", "args": [{"value": {"ref": "t"}}]}]}, {"name": "b", "try": [{"tool": "up", "args": [{"each": true, "value": {"ref": "a"}}]}]}, {"name": "c", "try": [{"tool": "free", "args": [{"value": {"ref": "t"}}]}]}], "outputs": [{"name": "b", "ref": "b"}, {"name": "c", "ref": "c"}, {"name": "a", "ref": "a"}]}',3,1795325242924778128);
INSERT INTO "plans" VALUES('836b9f63dbd2d042b996940acb98498e95eba519177ea97ea07f524ed2fe473d','in t: text
a = up(t)
b = fails(a) @retry(1, backoff=1ms)
out a, b?
','{"planlang": 1, "inputs": [{"name": "t", "type": "text"}], "steps": [{"name": "a", "try": [{"tool": "up", "args": [{"value": {"ref": "t"}}]}]}, {"name": "b", "try": [{"tool": "fails", "args": [{"value": {"ref": "a"}}]}], "notes": [["retry", [[null, 1], ["backoff", {"duration": "1ms"}]]]]}], "outputs": [{"name": "a", "ref": "a"}, {"name": "b", "ref": "b", "optional": true}]}',2,1795325242970882803);
INSERT INTO "plans" VALUES('42dc7cd1d56f41f4b83359f4c75664d04fa5576f193b2e7e082516bcfffcc8b7','in t: text
a = up(t)
b = dies(a)
out b
','{"planlang": 1, "inputs": [{"name": "t", "type": "text"}], "steps": [{"name": "a", "try": [{"tool": "up", "args": [{"value": {"ref": "t"}}]}]}, {"name": "b", "try": [{"tool": "dies", "args": [{"value": {"ref": "a"}}]}]}], "outputs": [{"name": "b", "ref": "b"}]}',2,1795325242977155294);
CREATE TABLE runs (
	id VARCHAR(26) NOT NULL, 
	task TEXT NOT NULL, 
	plan_hash VARCHAR(64) NOT NULL, 
	policy VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	created_ns BIGINT NOT NULL, 
	ended_ns BIGINT, 
	est_cost_lo BIGINT, 
	est_cost_p50 BIGINT, 
	est_cost_hi BIGINT, 
	cost_nano BIGINT, 
	budget_nano BIGINT, 
	unpriced INTEGER NOT NULL, 
	est_latency_ms FLOAT, 
	latency_ms FLOAT, 
	alpha FLOAT, 
	predicted_quality FLOAT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(plan_hash) REFERENCES plans (hash)
);
INSERT INTO "runs" VALUES('01M80VJBHC9HX07XV42TYHP4C8','a given plan','87eb8189af76c6ccf16676ef688a2e7da558a5ecc37106268c0b8b22a67996cb','given','complete',1795325242924778128,1795325242964993561,NULL,NULL,NULL,4000000,NULL,1,0.0,3.305753,0.8,NULL);
INSERT INTO "runs" VALUES('01M80VJBJP7AVRJ51SXQEQA7W3','a given plan','836b9f63dbd2d042b996940acb98498e95eba519177ea97ea07f524ed2fe473d','given','degraded',1795325242970882803,1795325242976149319,5000000,5000000,5000000,9000000,20000000,0,0.0,3.050423,0.8,NULL);
INSERT INTO "runs" VALUES('01M80VJBK14CTG1YS65QRHB1MG','a given plan','42dc7cd1d56f41f4b83359f4c75664d04fa5576f193b2e7e082516bcfffcc8b7','given','running',1795325242977155294,NULL,4000000,4000000,4000000,NULL,NULL,0,0.0,NULL,0.8,NULL);
CREATE INDEX runs_by_time ON runs (created_ns, id);
CREATE UNIQUE INDEX events_by_run ON events (run_id, run_seq);
COMMIT;
