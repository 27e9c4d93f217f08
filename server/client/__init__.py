"""Asks a recommendation server: the client for other services.

    from deepmoviematch.client import Client, pb

    with Client("recommender.internal:50051") as client:
        likes = [pb.Interaction(item_id="318"), pb.Interaction(item_id="50")]
        answer = client.recommend(pb.RecommendRequest(user=pb.UserFeatures(history=likes), page_size=5))
        for item in answer.results:
            print(item.rank, item.title, item.score)
        for page in client.pages(pb.SimilarItemsRequest(item_id="318", page_size=100)):
            print(page.metadata.generation_id, len(page.results))

One `Client` is meant to be shared by all threads of a process and to live as long as it
does. Every call has a deadline. What is UNAVAILABLE, and nothing else, is tried again,
so that a server may be replaced without its callers' notice; calls go round all the
addresses of a name, as far as they say that they are healthy.
"""

from deepmoviematch.client.calls import CallError, Client
from deepmoviematch.client.channel import SERVICE_CONFIG
from deepmoviematch.v1 import recommender_pb2 as pb

__all__ = ["SERVICE_CONFIG", "CallError", "Client", "pb"]
