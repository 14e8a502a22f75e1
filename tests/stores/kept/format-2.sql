BEGIN TRANSACTION;
CREATE TABLE durations (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;
INSERT INTO "durations" VALUES('[]','{"id":"[]","first":0,"weights":[0.25,1.5],"format":1}');
INSERT INTO "durations" VALUES('["sora-2"]','{"id":"[\"sora-2\"]","first":30,"weights":[0.25,1.5],"format":1}');
INSERT INTO "durations" VALUES('["sora-2",8,"1280x720"]','{"id":"[\"sora-2\",8,\"1280x720\"]","first":203,"weights":[0.25,1.5],"format":1}');
CREATE TABLE keys (name TEXT PRIMARY KEY, secret TEXT NOT NULL) STRICT;
INSERT INTO "keys" VALUES('jwt','a secret of 32 bytes, kept for ever');
INSERT INTO "keys" VALUES('links','bGlua3M=');
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    team TEXT,
    status TEXT NOT NULL,
    live INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    place TEXT,
    job_id TEXT,
    next_look_at INTEGER NOT NULL,
    watch TEXT NOT NULL,
    callback TEXT,
    idempotency TEXT,
    document TEXT NOT NULL
) STRICT;
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000000','ann','team-a','QUEUED',1,1760000000000,1760000000000,'provider',NULL,1760000000000,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,'{"key":"key","digest":"digest"}','{"order":{"prompt":"一只猫\nwith \u0000 and 🌕","model":"sora-2-pro","seconds":8,"size":"1280x720","referenceType":"image/png"},"state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000001','ann',NULL,'QUEUED',1,1760000000001,1760000000001,'provider',NULL,1760000000001,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":2,"missing":0,"missingSince":null,"sentAt":1760000000900,"unknownSends":1,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000002','bob',NULL,'PROCESSING',1,1760000001002,1760000000002,'provider','job-1',1760000000002,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"rendering","step":"rendering","progress":40,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":1760000001002,"startedAt":1760000001002,"finishedAt":null,"video":null,"failure":null,"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000003','ann',NULL,'PROCESSING',1,1760000004000,1760000000003,NULL,'job-3',1760000000003,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"archiving","step":"archiving","progress":99,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":1760000004000,"startedAt":1760000004000,"finishedAt":null,"video":null,"failure":null,"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000004','ann','team-a','COMPLETED',0,1760000002004,1760000000004,NULL,'job-1',1760000000004,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"completed","step":"archiving","progress":100,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":1760000001004,"startedAt":1760000001004,"finishedAt":1760000002004,"video":{"duration":8.0,"size":1000000,"width":1280,"height":720,"hasThumbnail":true,"expired":false},"failure":null,"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000005','ann',NULL,'FAILED',0,1760000002005,1760000000005,NULL,NULL,1760000000005,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"failed","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":1760000002005,"video":null,"failure":{"code":"GENERATION_FAILED","details":"模型过载","retryable":true},"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000006','ann',NULL,'CANCELLED',0,1760000005000,1760000000006,NULL,NULL,1760000000006,'{"plannedAt":0,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"cancelled","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":1760000005000,"video":null,"failure":{"code":"CANCELLED","details":"called off","retryable":true},"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000007','eve',NULL,'QUEUED',1,1760000000007,1760000000007,'line',NULL,9007199254740992,'{"plannedAt":1760000000007,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}',NULL,NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"inLine":true,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000008','ann',NULL,'FAILED',0,1760000002008,1760000000008,NULL,NULL,1760000000008,'{"plannedAt":1760000000008,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}','{"url":"https://a.example/told","host":"a.example","state":"pending","attempts":1,"dueAt":1760000012250,"triedAt":1760000006000,"deliveredAt":null,"error":"answered 500","revision":3}',NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"failed","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":null,"startedAt":null,"finishedAt":1760000002008,"video":null,"failure":{"code":"GENERATION_FAILED","details":"模型过载","retryable":true},"inLine":false,"format":1}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000009','ann',NULL,'COMPLETED',0,1760000002009,1760000000009,NULL,'job-1',1760000000009,'{"plannedAt":1760000000009,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}','{"url":"https://a.example/told","host":"a.example","state":"delivered","attempts":1,"dueAt":null,"triedAt":1760000006000,"deliveredAt":1760000007000,"error":null,"revision":3}',NULL,'{"order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"state":"completed","step":"archiving","progress":100,"progressSource":"provider","overdue":false,"simulated":false,"acceptedAt":1760000001009,"startedAt":1760000001009,"finishedAt":1760000002009,"video":{"duration":8.0,"size":1000000,"width":1280,"height":720,"hasThumbnail":true,"expired":false},"failure":null,"inLine":false,"format":1}');
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    disabled INTEGER AS (document ->> '$.disabled')
) STRICT;
INSERT INTO "users" VALUES('admin','{"name":"admin","passwordHash":"hash-of-admin","createdAt":1760000000000,"disabled":false,"format":1}');
INSERT INTO "users" VALUES('bob','{"name":"bob","passwordHash":"hash-of-bob","createdAt":1760000000001,"disabled":true,"format":1}');
CREATE UNIQUE INDEX tasks_by_key ON tasks (user_id, idempotency ->> '$.key')
    WHERE idempotency ->> '$.key' IS NOT NULL;
CREATE INDEX tasks_of_user ON tasks (user_id, created_at, id);
CREATE INDEX tasks_of_user_by_status ON tasks (user_id, status, created_at, id);
CREATE INDEX tasks_of_team ON tasks (team, created_at, id) WHERE team IS NOT NULL;
CREATE INDEX tasks_of_team_by_status ON tasks (team, status, created_at, id)
    WHERE team IS NOT NULL;
CREATE INDEX live_tasks ON tasks (live, created_at, id) WHERE live = 1;
CREATE INDEX live_tasks_of_user ON tasks (live, user_id, created_at, id) WHERE live = 1;
CREATE INDEX live_tasks_of_team ON tasks (live, team, created_at, id)
    WHERE live = 1 AND team IS NOT NULL;
CREATE INDEX ended_tasks_of_user ON tasks (live, user_id, seq, id) WHERE live = 0;
CREATE INDEX ended_tasks_of_team ON tasks (live, team, seq, id)
    WHERE live = 0 AND team IS NOT NULL;
CREATE INDEX due_tasks ON tasks (live, next_look_at, id) WHERE live = 1;
CREATE INDEX due_callbacks
    ON tasks (callback ->> '$.dueAt', id, callback ->> '$.host', user_id)
    WHERE callback ->> '$.dueAt' IS NOT NULL;
CREATE INDEX tasks_by_place ON tasks (place, user_id, created_at, id)
    WHERE place IS NOT NULL;
CREATE INDEX tasks_by_job ON tasks (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX disabled_users ON users (disabled, name) WHERE disabled = 1;
COMMIT;
PRAGMA user_version = 2;
