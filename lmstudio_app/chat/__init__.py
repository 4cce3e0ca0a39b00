"""Chatting with a model: engines that stream a reply, stored conversations, presets. No Qt."""
