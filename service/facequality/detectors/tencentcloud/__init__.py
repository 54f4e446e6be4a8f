"""The cloud detector: Tencent Cloud IAI DetectFace, API version 2020-03-03, signed with TC3-HMAC-SHA256."""
