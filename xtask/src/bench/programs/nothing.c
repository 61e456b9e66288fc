/* The smallest program: what is measured around it is the cost of the box. */
int main(void)
{
	return 0;
}
