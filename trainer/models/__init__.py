"""What is fitted: the towers in Keras, what they are asked, and their losses."""
