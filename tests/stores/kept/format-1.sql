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
    document TEXT NOT NULL,
    watch TEXT NOT NULL,
    user_id TEXT AS (document ->> '$.userId'),
    team TEXT AS (document ->> '$.team'),
    status TEXT AS (document ->> '$.status'),
    live INTEGER AS (document ->> '$.live'),
    seq INTEGER AS (document ->> '$.seq'),
    created_at INTEGER AS (document ->> '$.createdAt'),
    next_look_at INTEGER AS (watch ->> '$.nextLookAt'),
    idempotency_key TEXT AS (document ->> '$.idempotency.key')
) STRICT;
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000000','{"id":"video_00000000000000000000000000000000","userId":"ann","order":{"prompt":"一只猫\nwith \u0000 and 🌕","model":"sora-2-pro","seconds":8,"size":"1280x720","referenceType":"image/png"},"createdAt":1760000000000,"seq":1760000000000,"team":"team-a","state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"idempotency":{"key":"key","digest":"digest"},"status":"QUEUED","live":true,"format":1}','{"nextLookAt":1760000000000,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000001','{"id":"video_00000000000000000000000000000001","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000001,"seq":1760000000001,"team":null,"state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"idempotency":null,"status":"QUEUED","live":true,"format":1}','{"nextLookAt":1760000000001,"looks":0,"errors":2,"missing":0,"missingSince":null,"sentAt":1760000000900,"unknownSends":1,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000002','{"id":"video_00000000000000000000000000000002","userId":"bob","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000002,"seq":1760000001002,"team":null,"state":"rendering","step":"rendering","progress":40,"progressSource":"provider","overdue":false,"simulated":false,"jobId":"job-1","acceptedAt":1760000001002,"startedAt":1760000001002,"finishedAt":null,"video":null,"failure":null,"idempotency":null,"status":"PROCESSING","live":true,"format":1}','{"nextLookAt":1760000000002,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000003','{"id":"video_00000000000000000000000000000003","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000003,"seq":1760000004000,"team":null,"state":"archiving","step":"archiving","progress":99,"progressSource":"provider","overdue":false,"simulated":false,"jobId":"job-3","acceptedAt":1760000004000,"startedAt":1760000004000,"finishedAt":null,"video":null,"failure":null,"idempotency":null,"status":"PROCESSING","live":true,"format":1}','{"nextLookAt":1760000000003,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000004','{"id":"video_00000000000000000000000000000004","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000004,"seq":1760000002004,"team":"team-a","state":"completed","step":"archiving","progress":100,"progressSource":"provider","overdue":false,"simulated":false,"jobId":"job-1","acceptedAt":1760000001004,"startedAt":1760000001004,"finishedAt":1760000002004,"video":{"duration":8.0,"size":1000000,"width":1280,"height":720,"hasThumbnail":true},"failure":null,"idempotency":null,"status":"COMPLETED","live":false,"format":1}','{"nextLookAt":1760000000004,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000005','{"id":"video_00000000000000000000000000000005","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000005,"seq":1760000002005,"team":null,"state":"failed","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":1760000002005,"video":null,"failure":{"code":"GENERATION_FAILED","details":"模型过载","retryable":true},"idempotency":null,"status":"FAILED","live":false,"format":1}','{"nextLookAt":1760000000005,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000006','{"id":"video_00000000000000000000000000000006","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000006,"seq":1760000005000,"team":null,"state":"cancelled","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":1760000005000,"video":null,"failure":{"code":"CANCELLED","details":"called off","retryable":true},"idempotency":null,"status":"CANCELLED","live":false,"format":1}','{"nextLookAt":1760000000006,"looks":0,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000007','{"id":"video_00000000000000000000000000000007","userId":"eve","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000007,"seq":1760000000007,"team":null,"state":"submitting","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":null,"video":null,"failure":null,"callback":null,"inLine":true,"idempotency":null,"status":"QUEUED","live":true,"format":1,"place":"line"}','{"nextLookAt":9007199254740992,"plannedAt":1760000000007,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000008','{"id":"video_00000000000000000000000000000008","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000008,"seq":1760000002008,"team":null,"state":"failed","step":"submitting","progress":0,"progressSource":"provider","overdue":false,"simulated":false,"jobId":null,"acceptedAt":null,"startedAt":null,"finishedAt":1760000002008,"video":null,"failure":{"code":"GENERATION_FAILED","details":"模型过载","retryable":true},"callback":{"url":"https://a.example/told","host":"a.example","state":"pending","attempts":1,"dueAt":1760000012250,"triedAt":1760000006000,"deliveredAt":null,"error":"answered 500","revision":3},"inLine":false,"idempotency":null,"status":"FAILED","live":false,"format":1,"place":null}','{"nextLookAt":1760000000008,"plannedAt":1760000000008,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
INSERT INTO "tasks" VALUES('video_00000000000000000000000000000009','{"id":"video_00000000000000000000000000000009","userId":"ann","order":{"prompt":"a cat","model":"sora-2","seconds":null,"size":null,"referenceType":null},"createdAt":1760000000009,"seq":1760000002009,"team":null,"state":"completed","step":"archiving","progress":100,"progressSource":"provider","overdue":false,"simulated":false,"jobId":"job-1","acceptedAt":1760000001009,"startedAt":1760000001009,"finishedAt":1760000002009,"video":{"duration":8.0,"size":1000000,"width":1280,"height":720,"hasThumbnail":true,"expired":false},"failure":null,"callback":{"url":"https://a.example/told","host":"a.example","state":"delivered","attempts":1,"dueAt":null,"triedAt":1760000006000,"deliveredAt":1760000007000,"error":null,"revision":3},"inLine":false,"idempotency":null,"status":"COMPLETED","live":false,"format":1,"place":null}','{"nextLookAt":1760000000009,"plannedAt":1760000000009,"looks":0,"lookedAt":null,"errors":0,"missing":0,"missingSince":null,"sentAt":null,"unknownSends":0,"noContentSince":null}');
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    disabled INTEGER AS (document ->> '$.disabled')
) STRICT;
INSERT INTO "users" VALUES('admin','{"name":"admin","passwordHash":"hash-of-admin","createdAt":1760000000000,"disabled":false,"format":1}');
INSERT INTO "users" VALUES('bob','{"name":"bob","passwordHash":"hash-of-bob","createdAt":1760000000001,"disabled":true,"format":1}');
CREATE UNIQUE INDEX tasks_by_key ON tasks (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_of_user ON tasks (user_id, created_at, id);
CREATE INDEX tasks_of_user_by_status ON tasks (user_id, status, created_at, id);
CREATE INDEX tasks_of_team ON tasks (team, created_at, id) WHERE team IS NOT NULL;
CREATE INDEX tasks_of_team_by_status ON tasks (team, status, created_at, id)
    WHERE team IS NOT NULL;
CREATE INDEX live_tasks ON tasks (live, created_at, id) WHERE live = 1;
CREATE INDEX live_tasks_of_user ON tasks (live, user_id, created_at, id) WHERE live = 1;
CREATE INDEX live_tasks_of_team ON tasks (live, team, created_at, id)
    WHERE live = 1 AND team IS NOT NULL;
CREATE INDEX due_tasks ON tasks (live, next_look_at, id) WHERE live = 1;
CREATE INDEX disabled_users ON users (disabled, name) WHERE disabled = 1;
CREATE INDEX ended_tasks_of_user ON tasks (live, user_id, seq, id) WHERE live = 0;
CREATE INDEX due_callbacks
    ON tasks (document ->> '$.callback.dueAt', id, document ->> '$.callback.host', user_id)
    WHERE document ->> '$.callback.dueAt' IS NOT NULL;
CREATE INDEX tasks_by_place ON tasks (document ->> '$.place', user_id, created_at, id)
    WHERE document ->> '$.place' IS NOT NULL;
CREATE INDEX tasks_by_job ON tasks (document ->> '$.jobId')
    WHERE document ->> '$.jobId' IS NOT NULL;
COMMIT;
PRAGMA user_version = 1;
