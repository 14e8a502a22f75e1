"""What backends really sent: whole answers, letter by letter where they were seen running."""

from __future__ import annotations

import json

OPENAI_RUNNING = (
    b'{"id":"video_68d7512d07848190b3e45da0ecbebcde004da08e1e0678d5","object":"video",'
    b'"created_at":1758941485,"status":"in_progress","model":"sora-2-pro","progress":33,"seconds":"8",'
    b'"size":"1280x720"}'
)
OPENAI_BLOCKED = (
    b'{"id":"video_68d7512d07848190b3e45da0ecbebcde004da08e1e0678d5","object":"video","status":"failed",'
    b'"error":{"code":"moderation_blocked",'
    b'"message":"Your request was blocked by our moderation system."}}'
)
LITELLM_ID = (
    "video_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDpzb3JhLTI7dmlkZW9faWQ6dmlkZW9fOTk4"
    "ODg2NDVmYjJkNGI4Yzg0NDM4NTI4ZDhiZGE3ZGQwMTIzNDU2Nzg5YWJjZGVm"
)
LITELLM_CREATED = (
    f'{{"id":"{LITELLM_ID}","object":"video","status":"queued","created_at":1795508178,'
    '"completed_at":null,"expires_at":null,"error":null,"progress":0,"remixed_from_video_id":null,'
    '"seconds":"8","size":"1280x720","model":"sora-2","usage":{"duration_seconds":8.0}}'
).encode()
LITELLM_RUNNING = (  # the same job under another id
    b'{"id":"video_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDo7dmlkZW9faWQ6dmlkZW9fOTk4'
    b'ODg2NDVmYjJkNGI4Yzg0NDM4NTI4ZDhiZGE3ZGQwMTIzNDU2Nzg5YWJjZGVm","object":"video",'
    b'"status":"in_progress","created_at":1795508178,"completed_at":null,"expires_at":null,"error":null,'
    b'"progress":33,"remixed_from_video_id":null,"seconds":"8","size":"1280x720","model":"sora-2",'
    b'"usage":null}'
)
LITELLM_VEO_RUNNING = (
    b'{"id":"video_bGl0","object":"video","status":"processing","created_at":null,"completed_at":null,'
    b'"expires_at":null,"error":null,"progress":null,"remixed_from_video_id":null,"seconds":null,'
    b'"size":null,"model":"veo","usage":{"duration_seconds":8.0}}'
)
LITELLM_VEO_EMPTY = (
    b'{"error":{"message":"litellm.APIConnectionError: No response data in completed operation",'
    b'"type":null,"param":null,"code":"500"}}'
)
VLLM_DONE = (
    b'{"model":"wan2.2","prompt":"cat","id":"video_gen_7cfc9a82850840a592f6ebf887399485",'
    b'"object":"video","status":"completed","size":"1280x720","progress":100,"seconds":"4",'
    b'"quality":"default","completed_at":1795508556,"created_at":1795508553,'
    b'"remixed_from_video_id":null,"error":null,"media_type":"video/mp4","expires_at":null,'
    b'"file_name":"video_gen_7cfc9a82850840a592f6ebf887399485.mp4","inference_time_s":3.0,"fps":24.0,'
    b'"num_frames":96,"duration_s":4.0,"metrics":null,"stage_durations":{"denoise":1.9},'
    b'"peak_memory_mb":1234.5,"action":null}'
)
VLLM_FAILED = (  # comes as HTTP 500
    b'{"model":"wan2.2","prompt":"boom","id":"video_gen_5c66b5a2d9a64e8d9c4b8f2f0a1b2c3d",'
    b'"object":"video","status":"failed","size":"1280x720","progress":0,"seconds":"4",'
    b'"quality":"default","error":{"code":500,"message":"CUDA out of memory"}}'
)
VLLM_REJECTED = (  # comes as HTTP 400
    b'{"model":"wan2.2","prompt":"boom","id":"video_gen_5c66b5a2d9a64e8d9c4b8f2f0a1b2c3d",'
    b'"object":"video","status":"failed","progress":0,'
    b'"error":{"code":400,"message":"num_frames must be positive"}}'
)
LITELLM_VLLM_FAILED = json.dumps(
    {
        "error": {
            "message": "litellm.InternalServerError: InternalServerError: Hosted_vllmException - "
            f"{VLLM_FAILED.decode()}\n\nLiteLLM: model group 'omni' failed with the error above. "
            "No fallback was attempted.",
            "type": "internal_server_error",
            "param": None,
            "code": "500",
        }
    }
).encode()
LITELLM_LIMITED = (
    rb'{"error":{"message":"litellm.RateLimitError: RateLimitError: OpenAIException - '
    rb"{\"error\": {\"message\": \"slow down\", \"type\": \"requests\", \"param\": null, "
    rb"\"code\": \"rate_limit_exceeded\"}}\n\nLiteLLM: model group 'sora-2' failed with the error above. "
    rb'No fallback was attempted.","type":"throttling_error","param":null,"code":"429"}}'
)
LITELLM_BLOCKED = (
    rb'{"error":{"message":"litellm.BadRequestError: OpenAIException - {\"error\": {\"message\": '
    rb"\"Your request was blocked by our moderation system.\", \"type\": \"invalid_request_error\", "
    rb"\"param\": null, \"code\": \"moderation_blocked\"}}\n\nLiteLLM: model group 'sora-2' failed with "
    rb'the error above.","type":"invalid_request_error","param":null,"code":"400"}}'
)
LITELLM_GONE = (
    rb'{"error":{"message":"litellm.BadRequestError: OpenAIException - {\"error\": {\"message\": '
    rb"\"Video with id 'video_gone' not found.\", \"type\": \"invalid_request_error\", \"param\": null, "
    rb"\"code\": \"not_found\"}}\n\nLiteLLM: model group 'sora-2' failed with the error above."
    rb'","type":"invalid_request_error","param":null,"code":"404"}}'
)
LITELLM_NO_MODEL = (
    b'{"error":{"message":"/videos: Invalid model name passed in model=None. Call `/v1/models` to view '
    b'available models for your key.","type":"invalid_request_error","param":"model","code":"400"}}'
)
LITELLM_NO_DATABASE = (
    b'{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}'
)
SGLANG_FAILED = (
    b'{"id":"0b7e8f6a-4b1c-4d2e-9f3a-5c6d7e8f9a0b","object":"video","model":"Wan2.2","status":"failed",'
    b'"progress":41,"created_at":1795508553,"size":"1280x720","seconds":"4","quality":"standard",'
    b'"url":null,"urls":null,"error":{"message":"Worker died"}}'
)
NEW_API_DONE = (
    b'{"id":"task_LtujSKpBYTZNT4BXpUlfKYypoM5XabYN","task_id":"task_LtujSKpBYTZNT4BXpUlfKYypoM5XabYN",'
    b'"object":"video","model":"sora-2","status":"completed","progress":100,"created_at":1788400582,'
    b'"completed_at":1788400867,"metadata":{"url":"https://cdn.example.com/video.mp4"}}'
)
NEW_API_OTHER_SHAPE = (
    b'{"created_at":1788400582,"fail_reason":"","finished_at":1788400867,"platform":"1",'
    b'"progress":"100%","status":"SUCCESS","task_id":"task_LtujSKpBYTZNT4BXpUlfKYypoM5XabYN"}'
)
NEW_API_WRAPPED = b'{"code":"success","message":"","data":' + NEW_API_OTHER_SHAPE + b"}"
NEW_API_UNKNOWN = b'{"code":"task_not_exist","message":"task_not_exist","data":null}'
OPENROUTER_CREATED = (
    b'{"id":"gen-vid-1795508556-abcdefghij0123456789",'
    b'"polling_url":"/api/v1/videos/gen-vid-1795508556-abcdefghij0123456789","status":"pending"}'
)
OPENROUTER_DONE = (
    b'{"id":"gen-vid-1795508556-abcdefghij0123456789",'
    b'"polling_url":"/api/v1/videos/gen-vid-1795508556-abcdefghij0123456789","status":"completed",'
    b'"generation_id":"gen-1","unsigned_urls":["https://openrouter.ai/api/v1/videos/'
    b'gen-vid-1795508556-abcdefghij0123456789/content?index=0"],"urls":["https://cdn.example.com/signed'
    b'?sig=1"],"expires_at":1795594956,"usage":{"cost":0.5,"is_byok":false}}'
)
OPENROUTER_FAILED = (
    b'{"id":"gen-vid-1795508556-abcdefghij0123456789","status":"failed","error":"content policy"}'
)
TOGETHER_DONE = (
    b'{"id":"v1","object":"video","model":"m","status":"completed","created_at":1795508553.0,'
    b'"completed_at":1795508653.0,"seconds":"5","size":"1280x720",'
    b'"outputs":{"cost":1,"video_url":"https://cdn.example.com/t.mp4"}}'
)
XAI_CREATED = b'{"request_id":"31e1978f-0c1d-4a61-8c2b-0c9a8d0e7f6b"}'
XAI_DONE = (
    b'{"request_id":"31e1978f-0c1d-4a61-8c2b-0c9a8d0e7f6b","status":"done","progress":100,'
    b'"video":{"url":"https://cdn.example.com/x.mp4","duration":6},"usage":{}}'
)
XAI_FAILED = (
    b'{"request_id":"31e1978f-0c1d-4a61-8c2b-0c9a8d0e7f6b","status":"failed","progress":0,'
    b'"code":"generation_failed","error":"content policy"}'
)
AIMOCK_CREATED = b'{"id":"vid_wait","status":"processing","created_at":1795508262}'
AIMOCK_DONE = (
    b'{"id":"vid_done","status":"completed","created_at":1795508262,"url":"http://127.0.0.1:9/x.mp4"}'
)
AIMOCK_UNKNOWN = b'{"error":{"message":"Video nope not found","type":"not_found"}}'
